"""Starts to read weights into the page cache the moment a call arrives, before there is a process
that wants them. The disk works while the zygote forks; who loads the model then finds it in memory.

It only ever helps: what cannot be read is left to the engine, whose error is the one that counts.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from structlog import get_logger

from dormouse.machine import main_memory

log = get_logger(__name__)

CHUNK = 128 * 1024
"""The kernel reads no more than its read-ahead window for one question; this is the usual one."""

AT_ONCE = 2
"""More files than that at a time would only make the disk seek."""

PART_OF_FREE = 0.5
"""Of the memory that is free: more would push out what was read first, before anybody used it."""

# What else is in a folder is small.
_WEIGHTS = (".safetensors", ".gguf")


class Reading:
    """Of one model's weights, for all who want them. `done` once nothing is left to be asked for,
    whatever the reason; `bytes` were asked for until now."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.bytes = 0
        self._cancelled = False

    def cancel(self) -> None:
        """Stop at the next chunk; what was asked for is read all the same."""
        self._cancelled = True

    def run(self, path: Path, *, most_bytes: float) -> None:
        """Ask the kernel for all of it. Returns when it has taken the last question."""
        try:
            for file in _files(path):
                self._ask_for(file, most_bytes)
        except OSError as error:
            log.info("not_read_ahead", path=str(path), reason=str(error))
        finally:
            self.done.set()

    def _ask_for(self, file: Path, most_bytes: float) -> None:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            size = os.fstat(handle).st_size
            for start in range(0, size, CHUNK):
                if self._cancelled or self.bytes >= most_bytes:
                    return
                os.posix_fadvise(handle, start, CHUNK, os.POSIX_FADV_WILLNEED)
                self.bytes += min(CHUNK, size - start)
        finally:
            os.close(handle)


class ReadAhead:
    """From any thread; never blocks, and never asks for the same path twice at a time. `free_mb`
    says how much memory is free."""

    def __init__(self, free_mb: Callable[[], float] = lambda: main_memory().free_mb) -> None:
        self._free_mb = free_mb
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="read-ahead")
        self._lock = threading.Lock()
        self._running: dict[Path, Reading] = {}
        self._closed = False

    def start(self, path: Path | None) -> Reading:
        """Begin to read a file, or the weights in a folder; nothing, if there is none."""
        reading = Reading()
        with self._lock:
            if path is None or self._closed:
                reading.done.set()
                return reading
            running = self._running.get(path)
            if running is not None:
                return running
            self._running[path] = reading
            self._threads.submit(self._run, path, reading)
        return reading

    def close(self) -> None:
        """Ends what runs within a chunk, and what has not begun before it does."""
        with self._lock:
            self._closed = True
            for reading in self._running.values():
                reading.cancel()
        self._threads.shutdown(wait=False)

    def _run(self, path: Path, reading: Reading) -> None:
        try:
            reading.run(path, most_bytes=self._free_mb() * PART_OF_FREE * 2**20)
        finally:
            with self._lock:
                self._running.pop(path, None)


def _files(path: Path) -> Iterator[Path]:
    """The files of weights in a folder, or the one file."""
    if not path.is_dir():
        yield path
        return
    yield from sorted(each for each in path.iterdir() if each.suffix in _WEIGHTS)
