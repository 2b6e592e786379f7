"""Weights are in the page cache before anybody opens them. The pages are counted by the kernel."""

import ctypes
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dormouse_control.nest.read_ahead import CHUNK, ReadAhead, Reading

SIZE = 8 << 20
SECONDS = 20.0


def cached(path: Path) -> float:
    """The part of the file that is in memory."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        pages = (len(mapped) + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        states = (ctypes.c_ubyte * pages)()
        start = ctypes.c_char.from_buffer(mapped)
        at = ctypes.c_void_p(ctypes.addressof(start))
        failed = ctypes.CDLL(None).mincore(at, ctypes.c_size_t(len(mapped)), states)
        del start
        assert failed == 0
        return sum(state & 1 for state in states) / pages


def drop(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.fixture
def weights(tmp_path: Path, require: Callable[[str, bool, str], None]) -> Path:
    """A file that is on the disk only."""
    path = tmp_path / "w.gguf"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    drop(path)
    require("page-cache", cached(path) == 0, "temporary files never leave memory here")
    return path


@pytest.fixture
def read_ahead() -> Iterator[ReadAhead]:
    made = ReadAhead(lambda: 1e6)
    yield made
    made.close()


def until_cached(path: Path, part: float) -> None:
    end = time.monotonic() + SECONDS
    while cached(path) < part:
        assert time.monotonic() < end, cached(path)
        time.sleep(0.01)


def test_a_file_is_read(weights: Path, read_ahead: ReadAhead) -> None:
    reading = read_ahead.start(weights)
    assert reading.done.wait(SECONDS)
    assert reading.bytes == SIZE
    until_cached(weights, 1.0)


def test_the_weights_in_a_folder_are_read_through_their_links(
    tmp_path: Path, weights: Path, read_ahead: ReadAhead
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(weights)
    (folder / "notes.bin").write_bytes(b"x" * 1000)
    reading = read_ahead.start(folder)
    assert reading.done.wait(SECONDS)
    assert reading.bytes == SIZE
    until_cached(weights, 1.0)


def test_no_more_is_read_than_half_of_what_is_free(weights: Path) -> None:
    reading = ReadAhead(lambda: 2.0).start(weights)
    assert reading.done.wait(SECONDS)
    assert reading.bytes == 1 << 20


@pytest.mark.parametrize("name", [None, "missing", "missing/deeper", "pipe", "locked"])
def test_what_cannot_be_read_does_no_harm(
    tmp_path: Path, read_ahead: ReadAhead, name: str | None
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "locked").mkdir()
    reading = read_ahead.start(None if name is None else tmp_path / name)
    assert reading.done.wait(SECONDS)
    assert reading.bytes == 0


def test_two_who_want_the_same_share_one_reading(weights: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def free() -> float:
        asked.set()
        assert go_on.wait(SECONDS)
        return 1e6

    read_ahead = ReadAhead(free)
    first = read_ahead.start(weights)
    assert asked.wait(SECONDS)
    assert read_ahead.start(weights) is first
    assert not first.done.is_set()  # and nobody was kept waiting for it
    go_on.set()
    assert first.done.wait(SECONDS)
    deadline = time.monotonic() + SECONDS
    while read_ahead.start(weights) is first and time.monotonic() < deadline:
        time.sleep(0.01)
    assert read_ahead.start(weights) is not first
    read_ahead.close()


def test_a_reading_that_was_cancelled_stops_at_the_next_chunk(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, asked = Reading(), []

    def advise(_handle: int, start: int, _size: int, _advice: int) -> None:
        asked.append(start)
        if len(asked) == 3:
            reading.cancel()

    monkeypatch.setattr(os, "posix_fadvise", advise)
    reading.run(weights, most_bytes=1e12)
    assert asked == [0, CHUNK, 2 * CHUNK]
    assert reading.done.is_set()


def test_after_the_end_nothing_is_read(weights: Path) -> None:
    read_ahead = ReadAhead(lambda: 1e6)
    read_ahead.close()
    reading = read_ahead.start(weights)
    assert reading.done.is_set()
    assert cached(weights) == 0


def test_the_free_memory_is_this_machines_by_default(weights: Path) -> None:
    read_ahead = ReadAhead()
    reading = read_ahead.start(weights)
    assert reading.done.wait(SECONDS)
    assert reading.bytes == SIZE
    read_ahead.close()
