"""What is charged for calls whose process died: once each, with a second's worth more."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dormouse import spool
from dormouse.events import UsageEvent, from_cloudevent
from dormouse.spool import SpoolWriter, forward_abandoned
from dormouse.unfinished import Begun

BEGUN = UsageEvent(
    request_id="req_1",
    time="2027-01-15T08:00:00Z",
    user="usr_1",
    credential="key_1",
    service="chat",
    model="m",
    endpoint="chat.completions",
    outcome="failed",
    prompt_tokens=10,
    completion_tokens=0,
    duration_ms=40,
    queue_ms=30,
    lease="lse_1",
    predictor="ab" * 16,
    tags={"team": "a"},
)


def adopted(folder: Path) -> list[UsageEvent]:
    found: list[UsageEvent] = []

    def send(batch: Sequence[dict[str, Any]]) -> None:
        found.extend(from_cloudevent(document) for document in batch)

    assert forward_abandoned(folder, send) == len(found)
    assert list(folder.iterdir()) == []
    return found


def test_a_call_without_progress_is_charged_its_prompt_and_half_a_second(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.begin(Begun(BEGUN, rate=49.5))
    writer.close()
    (event,) = adopted(tmp_path)
    assert event == replace(
        BEGUN, estimated=True, completion_tokens=25, compute_ms=500, duration_ms=540
    )


def test_progress_is_charged_and_half_a_second_at_its_rate(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.begin(Begun(BEGUN, rate=1e6))
    writer.progress("req_1", prompt_tokens=12, completion_tokens=20, compute_ms=1000)
    writer.progress("req_1", prompt_tokens=12, completion_tokens=50, compute_ms=2000)
    writer.close()
    (event,) = adopted(tmp_path)
    assert (event.prompt_tokens, event.completion_tokens) == (12, 63)
    assert (event.compute_ms, event.duration_ms) == (2500, 2540)
    assert (event.outcome, event.estimated) == ("failed", True)


def test_of_calls_side_by_side_each_is_charged_half_a_second_of_its_own_share(
    tmp_path: Path,
) -> None:
    writer = SpoolWriter(tmp_path)
    writer.begin(Begun(BEGUN, rate=1e6))
    numbers = {"prompt_tokens": 12, "completion_tokens": 50}
    writer.progress("req_1", **numbers, compute_ms=500, running_ms=2000)
    writer.close()
    (event,) = adopted(tmp_path)
    assert event.completion_tokens == 63  # 25 a second, of which it had a quarter of the engine
    assert (event.compute_ms, event.duration_ms) == (625, 2540)


@pytest.mark.parametrize(("most", "charged"), [(None, 63), (60, 60), (10, 50)])
def test_nobody_is_charged_more_than_was_asked_for(
    tmp_path: Path, most: int | None, charged: int
) -> None:
    writer = SpoolWriter(tmp_path)
    writer.begin(Begun(BEGUN, most=most, rate=7))
    writer.progress("req_1", prompt_tokens=10, completion_tokens=50, compute_ms=2000)
    writer.close()
    (event,) = adopted(tmp_path)
    assert event.completion_tokens == charged


def test_a_call_that_ended_is_charged_what_it_used(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    end = replace(BEGUN, outcome="completed", completion_tokens=3)
    writer.begin(Begun(BEGUN))
    writer.progress("req_1", prompt_tokens=10, completion_tokens=2, compute_ms=9)
    writer.append(end)
    writer.progress("req_1", prompt_tokens=10, completion_tokens=3, compute_ms=9)  # too late
    writer.close()
    assert adopted(tmp_path) == [end]


def test_a_file_with_a_call_that_runs_is_not_emptied(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.begin(Begun(BEGUN))
    writer.begin(Begun(replace(BEGUN, request_id="req_2")))
    writer.append(replace(BEGUN, request_id="req_2"))
    assert writer.forward(lambda _: None) == 1
    (path,) = tmp_path.iterdir()
    assert b'"began"' in path.read_bytes()
    writer.append(BEGUN)
    assert writer.forward(lambda _: None) == 1
    assert path.read_bytes() == b""
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_does_not_grow_for_ever_while_calls_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "REWRITE_BYTES", 20_000)
    writer = SpoolWriter(tmp_path)
    writer.begin(Begun(replace(BEGUN, request_id="always")))
    writer.progress("always", prompt_tokens=10, completion_tokens=5, compute_ms=1000)
    names = set()
    for number in range(500):
        event = replace(BEGUN, request_id=f"req_{number}")
        writer.begin(Begun(event))
        writer.append(event)
        if number % 10 == 0:
            writer.forward(lambda _: None)
            (path,) = tmp_path.glob("*.jsonl")
            names.add(path.name)
            assert path.stat().st_size < 30_000
    assert len(names) > 5
    assert forward_abandoned(tmp_path, lambda _: None) == 0  # each is locked from its birth
    writer.close()
    found = adopted(tmp_path)
    always = [event for event in found if event.request_id == "always"]
    assert [event.completion_tokens for event in always] == [8]
    assert {event.request_id for event in found} >= {f"req_{n}" for n in range(491, 500)}


def test_while_nothing_can_be_sent_nothing_is_rewritten_or_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "REWRITE_BYTES", 1000)
    monkeypatch.setattr(spool, "BATCH", 2)
    writer = SpoolWriter(tmp_path)
    writer.begin(Begun(replace(BEGUN, request_id="always")))
    ids = [f"req_{number}" for number in range(50)]
    for name in ids:
        writer.append(replace(BEGUN, request_id=name))
    sent: list[str] = []

    def once(batch: Sequence[dict[str, Any]]) -> None:
        if len(sent) >= 8:
            raise ConnectionError("away again")
        sent.extend(document["id"] for document in batch)

    with pytest.raises(ConnectionError):
        writer.forward(once)
    writer.close()
    assert {event.request_id for event in adopted(tmp_path)} >= {*ids[8:], "always"}


def test_killed_between_the_new_file_and_the_old_all_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "REWRITE_BYTES", 0)
    writer = SpoolWriter(tmp_path)
    writer.begin(Begun(BEGUN))
    for number in range(5):
        writer.append(replace(BEGUN, request_id=f"req_{number + 2}"))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    old = writer._file
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            writer.forward(lambda _: None)
    assert writer._file is not old
    old.close()
    writer.close()
    ids = [event.request_id for event in adopted(tmp_path)]
    assert set(ids) == {f"req_{number + 1}" for number in range(6)}
    assert ids.count("req_1") <= 2  # settled once, by its id


def test_no_room_for_a_second_file_is_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "REWRITE_BYTES", 0)
    writer = SpoolWriter(tmp_path)
    writer.begin(Begun(BEGUN))
    for number in range(5):
        writer.append(replace(BEGUN, request_id=f"req_{number + 2}"))

    def full(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        writer.forward(lambda _: None)
    assert len(list(tmp_path.iterdir())) == 1
    writer.append(BEGUN)
    writer.close()
    assert BEGUN in adopted(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_cut_off_or_damaged_each_call_is_charged_once(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - no secrets
    writer = SpoolWriter(tmp_path)
    for number in range(20):
        event = replace(BEGUN, request_id=f"req_{number}")
        writer.begin(Begun(event, most=100, rate=5))
        for step in range(dice.randrange(3)):
            writer.progress(
                event.request_id, prompt_tokens=10, completion_tokens=step, compute_ms=step
            )
        if dice.random() < 0.5:
            writer.append(event)
    writer.close()
    (path,) = tmp_path.iterdir()
    raw = bytearray(path.read_bytes())
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(raw))
        raw[at : at + 30] = dice.randbytes(30)
    path.write_bytes(bytes(raw[: dice.randrange(1, len(raw))]))
    ids: list[str] = []
    forward_abandoned(tmp_path, lambda batch: ids.extend(each["id"] for each in batch))
    assert len(ids) == len(set(ids))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_line_of_a_call_without_an_event_harms_no_other(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.begin(Begun(BEGUN))
    writer.close()
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    line = json.loads(good)
    line["began"]["id"], line["began"]["data"]["prompt_tokens"] = "damaged", "many"
    worse = {"began": {"id": []}, "most": "x"}
    other = json.loads(good) | {"rate": "fast"}
    other["began"]["id"] = "no rate"
    lines = [line, worse, {"progress": {}}, {"progress": "unknown"}, [], 7, other]
    path.write_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in lines))
    with path.open("ab") as file:
        file.write(good)
    assert [event.request_id for event in adopted(tmp_path)] == ["req_1"]


def test_old_files_that_were_never_born_are_removed(tmp_path: Path) -> None:
    old, young = tmp_path / "1-a.new", tmp_path / "2-b.new"
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (1, 1))
    assert forward_abandoned(tmp_path, lambda _: None) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["2-b.new"]


RUN_FOR_EVER = """
import sys, time
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from dormouse.spool import SpoolWriter
from test_unfinished import BEGUN

writer, number = SpoolWriter(Path(sys.argv[1])), 0
while True:
    event = replace(BEGUN, request_id=f"req_{number}")
    writer.begin(Begun(event, most=50, rate=10))
    print(f"began {number}", flush=True)
    writer.progress(event.request_id, prompt_tokens=10, completion_tokens=5, compute_ms=500)
    writer.append(replace(event, outcome="completed", completion_tokens=9))
    print(f"ended {number}", flush=True)
    number += 1
"""


def test_a_killed_process_loses_no_call_that_it_began(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN_FOR_EVER, str(tmp_path), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(300)]
    time.sleep(random.uniform(0, 0.02))  # noqa: S311 - no secrets
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read().splitlines(keepends=True)
    process.stdout.close()
    process.wait()
    began = {line.split()[1] for line in said if line.startswith("began") and line[-1] == "\n"}
    ended = {line.split()[1] for line in said if line.startswith("ended") and line[-1] == "\n"}
    found = {event.request_id.removeprefix("req_"): event for event in adopted(tmp_path)}
    assert began <= set(found)
    assert all(not found[number].estimated for number in ended)
    assert sum(event.estimated for event in found.values()) <= 1
