"""How long waking takes is learned, and survives restarts and damage."""

import json

import pytest

from dormouse_control.nest.cold_starts import ColdStarts


@pytest.fixture
def file(tmp_path):
    return tmp_path / "cold-starts.json"


def test_nobody_knows_before_the_first(file):
    assert ColdStarts(file).wake_ms("chat", "m") is None


def test_the_newest_counts_most_but_not_alone(file):
    known = ColdStarts(file)
    known.learn("chat", "m", wake_ms=100, load_ms=80)
    assert (known.wake_ms("chat", "m"), known.load_ms("chat", "m")) == (100, 80)
    known.learn("chat", "m", wake_ms=200, load_ms=180)
    assert 100 < known.wake_ms("chat", "m") < 150
    assert known.wake_ms("chat", "other") is None


def test_it_survives_a_restart(file):
    ColdStarts(file).learn("chat", "m", wake_ms=100, load_ms=80)
    again = ColdStarts(file)
    assert (again.wake_ms("chat", "m"), again.load_ms("chat", "m")) == (100, 80)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff",
        b'{"chat/m": 3}',
        b'{"chat/m": {"wake_ms": "x"}}',
        b'{"chat/m": {"wake_ms": NaN}}',
        b'{"chat/m": {"wake_ms": -1}}',
        b'{"chat/m": {"wake_ms": true}}',
        b'{"chat/m": {"wake_ms": 1' + b"0" * 400 + b"}}",
        b"[" * 100_000,
    ],
    ids=lambda text: text[:30],
)
def test_a_broken_file_is_no_catastrophe(file, text):
    file.write_bytes(text)
    known = ColdStarts(file)
    assert known.wake_ms("chat", "m") is None
    known.learn("chat", "m", wake_ms=100, load_ms=80)
    assert json.loads(file.read_text()) == {"chat/m": {"wake_ms": 100, "load_ms": 80}}


def test_a_disk_that_takes_nothing_keeps_nobody_from_waking(tmp_path):
    known = ColdStarts(tmp_path / "no such folder" / "cold-starts.json")
    known.learn("chat", "m", wake_ms=100, load_ms=80)
    assert known.wake_ms("chat", "m") == 100
