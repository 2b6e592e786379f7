import os
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dormouse import spool
from dormouse.events import UsageEvent
from dormouse.spool import SpoolWriter, forward_abandoned

EVENT_OF = """
from dormouse.events import UsageEvent

def event(number):
    return UsageEvent(
        request_id=f"req_{number}", time="2027-01-15T08:00:00Z", user="usr_1", credential="key_1",
        service="chat", model="m", endpoint="chat.completions", outcome="completed",
        prompt_tokens=1, completion_tokens=number, duration_ms=1,
    )
"""
WRITE_FOR_EVER = (
    EVENT_OF
    + """
import sys
from pathlib import Path
from dormouse.spool import SpoolWriter

writer = SpoolWriter(Path(sys.argv[1]))
number = 0
while True:
    writer.append(event(number))
    print(number, flush=True)  # acknowledged
    number += 1
"""
)


def event(number: int = 0) -> UsageEvent:
    names: dict[str, Any] = {}
    exec(EVENT_OF, names)  # noqa: S102 - the same lines as in the other process
    made = names["event"](number)
    assert isinstance(made, UsageEvent)
    return made


class Receiver:
    """The other side: keeps what it is sent; fails on the calls it is told to."""

    def __init__(self, *, fail_on: Sequence[int] = ()) -> None:
        self.batches: list[list[str]] = []
        self.calls = 0
        self._fail_on = fail_on

    def __call__(self, batch: Sequence[dict[str, Any]]) -> None:
        self.calls += 1
        if self.calls in self._fail_on:
            raise ConnectionError("no answer")
        self.batches.append([document["id"] for document in batch])

    @property
    def ids(self) -> list[str]:
        return [id for batch in self.batches for id in batch]


def numbered(count: int, start: int = 0) -> list[str]:
    return [f"req_{number}" for number in range(start, start + count)]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path)
    yield writer
    writer.close()


def fill(writer: SpoolWriter, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        writer.append(event(number))


def test_events_are_forwarded_once_and_in_order(tmp_path: Path, writer: SpoolWriter) -> None:
    receiver = Receiver()
    fill(writer, 3)
    assert (writer.pending(), writer.forward(receiver), writer.pending()) == (3, 3, 0)
    assert writer.forward(receiver) == 0
    fill(writer, 2, start=3)
    writer.forward(receiver)
    assert receiver.batches == [numbered(3), numbered(2, start=3)]
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [0]


def test_many_events_go_in_batches(writer: SpoolWriter) -> None:
    receiver = Receiver()
    fill(writer, spool.BATCH + 1)
    assert writer.forward(receiver) == spool.BATCH + 1
    assert [len(batch) for batch in receiver.batches] == [spool.BATCH, 1]


def test_a_sender_failing_half_way_loses_and_repeats_nothing(writer: SpoolWriter) -> None:
    receiver = Receiver(fail_on=[2])
    fill(writer, spool.BATCH + 2)
    with pytest.raises(ConnectionError):
        writer.forward(receiver)
    assert writer.pending() == 2
    writer.forward(receiver)
    assert receiver.ids == numbered(spool.BATCH + 2)


def test_a_file_keeps_its_events_until_all_are_sent(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    fill(writer, spool.BATCH + 2)
    with pytest.raises(ConnectionError):
        writer.forward(Receiver(fail_on=[2]))
    writer.close()
    receiver = Receiver()
    forward_abandoned(tmp_path, receiver)
    assert set(numbered(2, start=spool.BATCH)) <= set(receiver.ids)


def test_events_appended_while_sending_are_sent_too(writer: SpoolWriter) -> None:
    seen: list[str] = []

    def send(batch: Sequence[dict[str, Any]]) -> None:
        if not seen:
            writer.append(event(1))
        seen.extend(document["id"] for document in batch)

    writer.append(event(0))
    assert writer.forward(send) == 2
    assert seen == numbered(2)


def test_threads_may_append_and_forward_at_once(writer: SpoolWriter) -> None:
    receiver = Receiver()
    stop = threading.Event()

    def forward() -> None:
        while not stop.is_set():
            writer.forward(receiver)

    forwarders = [threading.Thread(target=forward) for _ in range(2)]
    writers = [threading.Thread(target=fill, args=(writer, 100, n * 100)) for n in range(4)]
    for thread in [*forwarders, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in forwarders:
        thread.join()
    writer.forward(receiver)
    assert sorted(receiver.ids) == sorted(numbered(400))


def test_closing_removes_an_empty_file_and_keeps_a_full_one(tmp_path: Path) -> None:
    SpoolWriter(tmp_path).close()
    assert list(tmp_path.iterdir()) == []
    writer = SpoolWriter(tmp_path)
    writer.append(event())
    writer.close()
    receiver = Receiver()
    assert forward_abandoned(tmp_path, receiver) == 1
    assert receiver.ids == numbered(1)
    assert list(tmp_path.iterdir()) == []


def test_forwarding_a_closed_spool_is_no_error(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    receiver = Receiver()

    def close_while_sending(batch: Sequence[dict[str, Any]]) -> None:
        receiver(batch)
        writer.close()

    writer.append(event())
    assert writer.forward(close_while_sending) == 1
    assert writer.forward(receiver) == 0


def test_a_full_disk_leaves_no_half_line(
    tmp_path: Path, writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk:
        """The writer's file on a disk with room for ten more bytes."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def write(self, data: bytes) -> int:
            return int(self._file.write(data[:10]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    writer.append(event(0))
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_file", FullDisk(writer._file))
        with pytest.raises(OSError, match="disk is full"):
            writer.append(event(1))
    (path,) = tmp_path.iterdir()
    assert path.read_bytes().count(b"\n") == len(path.read_bytes().splitlines()) == 1
    writer.append(event(2))
    writer.close()
    receiver = Receiver()
    forward_abandoned(tmp_path, receiver)
    assert receiver.ids == ["req_0", "req_2"]


def test_no_acknowledged_event_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(200)]
    assert forward_abandoned(tmp_path, Receiver()) == 0  # it lives: its file is its own
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.read().split()
    process.stdout.close()
    process.wait()

    receiver = Receiver()
    forward_abandoned(tmp_path, receiver)
    assert receiver.ids[: len(acknowledged)] == [f"req_{number}" for number in acknowledged]
    assert len(receiver.ids) <= len(acknowledged) + 1
    assert list(tmp_path.iterdir()) == []


def abandoned(folder: Path, count: int = 3) -> Path:
    """The file of a process that is gone."""
    writer = SpoolWriter(folder)
    fill(writer, count)
    writer.close()
    (path,) = folder.iterdir()
    return path


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    path = abandoned(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    receiver = Receiver()
    assert forward_abandoned(tmp_path, receiver) == 2
    assert receiver.ids == numbered(2)
    assert not path.exists()


def test_a_damaged_line_costs_only_itself(tmp_path: Path) -> None:
    path = abandoned(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + bytes(40) + b"\xff\n" + lines[2])
    receiver = Receiver()
    forward_abandoned(tmp_path, receiver)
    assert receiver.ids == ["req_0", "req_2"]


def test_an_abandoned_file_stays_when_its_sender_fails(tmp_path: Path) -> None:
    path = abandoned(tmp_path, spool.BATCH + 1)
    with pytest.raises(ConnectionError):
        forward_abandoned(tmp_path, Receiver(fail_on=[2]))
    assert path.exists()
    receiver = Receiver()
    assert forward_abandoned(tmp_path, receiver) == spool.BATCH + 1


def test_abandoned_files_in_folders_below_are_found(tmp_path: Path) -> None:
    (tmp_path / "chat").mkdir()
    abandoned(tmp_path / "chat")
    receiver = Receiver()
    assert forward_abandoned(tmp_path, receiver) == 3


def test_two_forwarders_share_an_abandoned_file_once(tmp_path: Path) -> None:
    abandoned(tmp_path)
    receiver, second = Receiver(), Receiver()

    def send_while_another_looks(batch: Sequence[dict[str, Any]]) -> None:
        forward_abandoned(tmp_path, second)
        receiver(batch)

    forward_abandoned(tmp_path, send_while_another_looks)
    assert (receiver.ids, second.ids) == (numbered(3), [])


def test_a_forwarder_that_opened_a_file_before_its_removal_skips_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = abandoned(tmp_path)
    lock = spool.fcntl.flock

    def lock_late(file: Any, how: int) -> None:
        path.unlink()  # the other forwarder was quicker
        lock(file, how)

    monkeypatch.setattr(spool.fcntl, "flock", lock_late)
    receiver = Receiver()
    assert forward_abandoned(tmp_path, receiver) == 0
    assert receiver.ids == []


def test_a_file_is_never_to_be_found_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = spool.fcntl.flock
    receiver = Receiver()

    def look_before(file: Any, how: int) -> None:
        monkeypatch.undo()
        forward_abandoned(tmp_path, receiver)  # must not remove the file that is being born
        lock(file, how)

    monkeypatch.setattr(spool.fcntl, "flock", look_before)
    writer = SpoolWriter(tmp_path)
    writer.append(event())
    assert [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]
    writer.forward(receiver)
    writer.close()
    assert receiver.ids == numbered(1)


def test_a_process_that_the_writer_started_does_not_keep_the_lock(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(event())
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        writer.close()
        assert forward_abandoned(tmp_path, Receiver()) == 1
    finally:
        assert sleeper.stdin is not None
        sleeper.stdin.close()
        sleeper.wait()


def test_several_events_are_written_together_or_not_at_all(
    writer: SpoolWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.append(event(0), event(1))
    assert writer.pending() == 2

    def full(*_: object, **__: object) -> None:
        raise OSError("the spool's disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(spool, "_write_whole", full)
        with pytest.raises(OSError, match="full"):
            writer.append(event(2), event(3))
    assert writer.pending() == 2
    writer.close()
    receiver = Receiver()
    forward_abandoned(tmp_path, receiver)
    assert receiver.ids == numbered(2)


def test_calls_are_written_down_while_the_disk_is_slow(
    writer: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An fsync may take long: whoever ends meanwhile does not wait for it."""
    receiver = Receiver()
    syncing, go_on = threading.Event(), threading.Event()

    def slow(_file: int) -> None:
        syncing.set()
        assert go_on.wait(10)

    monkeypatch.setattr(os, "fsync", slow)
    writer.append(event(0))
    forwarding = threading.Thread(target=writer.forward, args=(receiver,))
    forwarding.start()
    assert syncing.wait(10)
    writer.append(event(1))  # else this would never return
    go_on.set()
    forwarding.join(10)
    assert receiver.ids == numbered(2)


def test_folders_below_folders_are_nobodys_spool(tmp_path: Path) -> None:
    (tmp_path / "chat" / "deeper").mkdir(parents=True)
    abandoned(tmp_path / "chat" / "deeper")
    assert forward_abandoned(tmp_path, Receiver()) == 0


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A file that whoever owns the spool may not read."""
    path = tmp_path / "elsewhere.jsonl"
    writer = SpoolWriter(tmp_path / "other")
    fill(writer, 3)
    writer.close()
    next((tmp_path / "other").iterdir()).rename(path)
    return path


def test_what_only_looks_like_a_spools_file_is_left_alone(tmp_path: Path, elsewhere: Path) -> None:
    folder = tmp_path / "spool" / "chat"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "1-fifo.jsonl")
    (folder / "2-link.jsonl").symlink_to(elsewhere)
    (folder / "3-link.jsonl").hardlink_to(elsewhere)
    (folder / "4-folder.jsonl").mkdir()
    (folder / "5-folder.new").mkdir()
    (folder / "6-link.new").symlink_to(elsewhere)
    (folder.parent / "link").symlink_to(elsewhere.parent)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "7-socket.jsonl"))
    for path in folder.iterdir():
        os.utime(path, (0, 0), follow_symlinks=False)
    (tmp_path / "right").mkdir()
    abandoned(tmp_path / "right").rename(folder / "8-right.jsonl")
    receiver, stuck = Receiver(), threading.Event()

    def forward() -> None:
        forward_abandoned(folder.parent, receiver)
        stuck.set()

    threading.Thread(target=forward, daemon=True).start()
    assert stuck.wait(20)
    assert receiver.ids == numbered(3)
    assert len(elsewhere.read_text().splitlines()) == 3
    left = {path.name for path in folder.iterdir()}
    assert "8-right.jsonl" not in left
    assert {"1-fifo.jsonl", "2-link.jsonl", "3-link.jsonl", "4-folder.jsonl"} <= left


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"a": "' + b"x" * spool.MOST_LINE_BYTES + b'"}',
    ],
    ids=["no number", "infinite", "deep", "too deep", "long"],
)
def test_a_line_that_nobody_could_deliver_costs_only_itself(tmp_path: Path, line: bytes) -> None:
    path = abandoned(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + line + b"\n" + lines[2])
    receiver = Receiver()
    forward_abandoned(tmp_path, receiver)
    assert receiver.ids == ["req_0", "req_2"]


def test_a_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "1-x.jsonl"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        assert forward_abandoned(tmp_path, Receiver()) == 0
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert not path.exists()
