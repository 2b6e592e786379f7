"""What models really took is remembered, and an .ini that is wrong is told."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dormouse_control.nest.sizes import Sizes

KEY = ("chat", "tiny", "starter")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "sizes.json"


def learn(sizes: Sizes, mb: float, *, stated: float = 1000, seconds: float = 1.0) -> list[Any]:
    with capture_logs() as logs:
        sizes.learn(KEY, model_mb=mb, stated_mb=stated, seconds=seconds, ini="tiny.ini")
    return logs


def test_before_the_first_load_the_ini_counts(path: Path) -> None:
    sizes = Sizes(path)
    assert sizes.model_mb(KEY, stated_mb=1000) == 1000
    assert sizes.load_seconds(KEY) is None
    assert not path.exists()


def test_the_larger_of_stated_and_learned_counts(path: Path) -> None:
    sizes = Sizes(path)
    learn(sizes, 900)
    assert sizes.model_mb(KEY, stated_mb=1000) == 1000
    learn(sizes, 1500)
    assert sizes.model_mb(KEY, stated_mb=1000) == 1500
    assert sizes.model_mb(("chat", "tiny", "standard"), stated_mb=1000) == 1000


def test_the_last_loads_count_not_all_there_ever_were(path: Path) -> None:
    sizes = Sizes(path)
    learn(sizes, 9000, seconds=0.1)
    for _ in range(4):
        learn(sizes, 1100, seconds=3)
    assert sizes.model_mb(KEY, stated_mb=1000) == 9000
    assert sizes.load_seconds(KEY) == 0.1
    learn(sizes, 1100, seconds=3)
    assert sizes.model_mb(KEY, stated_mb=1000) == 1100
    assert sizes.load_seconds(KEY) == 3


def test_a_corrected_ini_begins_anew(path: Path) -> None:
    sizes = Sizes(path)
    learn(sizes, 9000)
    assert sizes.model_mb(KEY, stated_mb=1200) == 1200
    learn(sizes, 1250, stated=1200)
    assert sizes.model_mb(KEY, stated_mb=1200) == 1250


def test_it_outlives_the_nest(path: Path) -> None:
    learn(Sizes(path), 1500, seconds=2)
    again = Sizes(path)
    assert again.model_mb(KEY, stated_mb=1000) == 1500
    assert again.load_seconds(KEY) == 2
    assert oct(path.stat().st_mode)[-3:] == "600"
    assert [each.name for each in path.parent.iterdir()] == ["sizes.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "{}x",
        '[{"service": "chat"}]',
        '[{"service": "a", "model": "b", "profile": "c", "stated_mb": 1, "loads": [], "seconds": []}]',  # noqa: E501
        '[{"service": "a", "model": "b", "profile": "c", "stated_mb": 1, "loads": [NaN], "seconds": [1]}]',  # noqa: E501
        '[{"service": "a", "model": "b", "profile": "c", "stated_mb": 1%s}]' % ("0" * 400),
        "[" * 100_000,
    ],
    ids=lambda text: text[:30],
)
def test_a_damaged_file_is_put_aside_and_learned_again(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with capture_logs() as logs:
        sizes = Sizes(path)
    assert [log["event"] for log in logs] == ["sizes_unreadable"]
    assert path.with_suffix(".bad").read_text() == text
    assert sizes.model_mb(KEY, stated_mb=1000) == 1000
    learn(sizes, 1500)
    assert Sizes(path).model_mb(KEY, stated_mb=1000) == 1500


def test_a_full_disk_costs_only_what_a_restart_forgets(path: Path) -> None:
    path.parent.mkdir()
    path.parent.joinpath("sizes.json").mkdir()  # nothing can be written there
    with capture_logs() as logs:
        sizes = Sizes(path)
    assert logs[0]["event"] == "sizes_unreadable"
    blocked = path.parent
    path.with_suffix(".bad").rmdir()
    blocked.rmdir()
    blocked.write_text("a file where the folder was")
    assert [log["event"] for log in learn(sizes, 1200)] == ["sizes_not_kept"]
    assert sizes.model_mb(KEY, stated_mb=1000) == 1200


def test_a_crash_while_it_is_written_leaves_the_old_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = Sizes(path)
    learn(sizes, 1100)
    before = path.read_text()

    def crash(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", crash)
    assert learn(sizes, 1200)[0]["event"] == "sizes_not_kept"
    assert path.read_text() == before


def test_an_ini_that_states_too_little_is_told_once(path: Path) -> None:
    sizes = Sizes(path)
    assert learn(sizes, 1250) == []
    [warning] = learn(sizes, 1251)
    assert warning["log_level"] == "warning"
    told = {name: warning[name] for name in ("file", "stated_mb", "measured_mb")}
    assert told == {"file": "tiny.ini", "stated_mb": 1000, "measured_mb": 1251}
    assert learn(sizes, 2000) == []
    [again] = learn(sizes, 9000, stated=1300)  # corrected, and wrong again
    assert again["stated_mb"] == 1300


def test_a_tiny_model_may_be_wrong_by_what_its_process_takes(path: Path) -> None:
    sizes = Sizes(path)
    assert learn(sizes, 64 + 4, stated=4) == []
    assert len(learn(sizes, 64 + 5, stated=4)) == 1


def test_what_is_written_can_be_read_by_people(path: Path) -> None:
    learn(Sizes(path), 1500.04, seconds=1.5)
    assert json.loads(path.read_text()) == [
        {
            "service": "chat",
            "model": "tiny",
            "profile": "starter",
            "stated_mb": 1000,
            "loads": [1500.0],
            "seconds": [1.5],
        }
    ]
