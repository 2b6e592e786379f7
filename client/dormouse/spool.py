"""The disk spool of usage events: written before a call ends, forwarded until safe elsewhere.

One file per writing process, one event per line, and lines about calls that run (`unfinished`).
The writer holds a lock on its file, so a file that nobody locks belongs to a process that died,
and whoever finds it may forward and remove it; what ran when it died is charged by estimate.
Forwarding may repeat an event (a reply can be lost): its id lets the receiver settle it once.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from dormouse import unfinished
from dormouse.events import UsageEvent, to_cloudevent
from dormouse.unfinished import Begun, Unfinished

Send = Callable[[Sequence[dict[str, Any]]], None]
"""Delivers a batch of CloudEvents; returns once they are durable elsewhere, raises otherwise."""

BATCH = 500

REWRITE_BYTES = 1 << 20
"""A file that grew to this keeps only what is still needed, as soon as that is less than half."""

MOST_LINE_BYTES = 1 << 16
"""More than an event has at most; what is longer is none."""

MOST_DEPTH = 8
"""Deeper than an event is nested; who writes it anew may fail on what could just be read."""

UNBORN_SECONDS = 3600.0
"""A file without its name for so long never gets it."""


class SpoolWriter:
    """Appends events for one process and forwards them. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._path, self._file = self._new_file(b"")
        self._size = 0
        self._pending: list[tuple[bytes, dict[str, Any]]] = []
        self._pending_size = 0
        self._running: dict[str, list[bytes]] = {}  # request id -> its lines
        self._lock = threading.Lock()
        self._forwarding = threading.Lock()

    def begin(self, *calls: Begun) -> None:
        """All of them run from now on, or, if this raises, none."""
        lines = {call.event.request_id: unfinished.began(call) for call in calls}
        with self._lock:
            self._write(b"".join(lines.values()))
            self._running.update((request_id, [line]) for request_id, line in lines.items())

    def progress(
        self,
        request_id: str,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        compute_ms: int,
        running_ms: int = 0,
    ) -> None:
        """How far a call has come; not one that has ended meanwhile."""
        line = unfinished.progress(
            request_id,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            compute_ms=compute_ms,
            running_ms=running_ms,
        )
        with self._lock:
            if request_id in self._running:
                self._write(line)
                self._running[request_id][1:] = [line]

    def append(self, *events: UsageEvent) -> None:
        """All of them are in the file (survive a killed process) when this returns; none if it
        raises."""
        documents = [to_cloudevent(event) for event in events]
        lines = [orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE) for document in documents]
        whole = b"".join(lines)
        with self._lock:
            self._write(whole)
            for event in events:
                self._running.pop(event.request_id, None)
            self._pending += zip(lines, documents, strict=True)
            self._pending_size += len(whole)

    def forward(self, send: Send) -> int:
        """Send what is pending; empty the file once nothing is. Returns how many were sent."""
        sent = 0
        with self._forwarding:
            while batch := self._batch():
                send(batch)
                self._sent(len(batch))
                sent += len(batch)
        return sent

    def pending(self) -> int:
        return len(self._pending)

    def close(self) -> None:
        """Give the file up; it is removed if all of it was forwarded."""
        with self._lock:
            if not self._pending and not self._running:
                self._path.unlink(missing_ok=True)
            self._file.close()

    def _write(self, lines: bytes) -> None:
        _write_whole(self._file, lines, at=self._size)
        self._size += len(lines)

    def _batch(self) -> list[dict[str, Any]]:
        with self._lock:
            if self._file.closed or not self._pending:
                return []
            batch = [document for _, document in self._pending[:BATCH]]
            file = os.dup(self._file.fileno())
        try:
            os.fsync(file)  # takes long on a slow disk: calls go on meanwhile
        finally:
            os.close(file)
        return batch

    def _sent(self, count: int) -> None:
        with self._lock:
            self._pending_size -= sum(len(line) for line, _ in self._pending[:count])
            del self._pending[:count]
            if self._file.closed:
                return
            if not self._pending and not self._running:
                self._file.truncate(0)
                self._file.seek(0)
                self._size = 0
            elif self._size > REWRITE_BYTES:
                self._rewrite()

    def _rewrite(self) -> None:
        """Who always has calls never has an empty file: leave what was sent behind."""
        running = [line for lines in self._running.values() for line in lines]
        if self._pending_size + sum(map(len, running)) > self._size // 2:
            return
        kept = b"".join([*running, *(line for line, _ in self._pending)])
        old, old_file = self._path, self._file
        try:
            self._path, self._file = self._new_file(kept)
        except OSError:
            return  # no room for two; the old one serves
        self._size = len(kept)
        # Killed here, both are found: what they say twice is settled once.
        old.unlink(missing_ok=True)
        old_file.close()

    def _new_file(self, content: bytes) -> tuple[Path, BinaryIO]:
        path = self._folder / f"{os.getpid()}-{uuid.uuid4().hex}.jsonl"
        # Locked before it has the name that `forward_abandoned` looks for: never found unlocked.
        unborn = path.with_suffix(".new")
        file: BinaryIO = unborn.open("xb", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_whole(file, content, at=0)
            unborn.rename(path)
        except OSError:
            unborn.unlink(missing_ok=True)
            file.close()
            raise
        return path, file


def _write_whole(file: BinaryIO, lines: bytes, *, at: int) -> None:
    """`at` is where the file ends."""
    try:
        written = file.write(lines)
        if written != len(lines):
            raise OSError("the spool's disk is full")
    except OSError:
        # Half a line would spoil the next event as well.
        file.truncate(at)
        file.seek(at)
        raise


def forward_abandoned(folder: Path, send: Send) -> int:
    """Forward and remove the files that dead processes left in `folder` and in folders there.

    What is in such a folder may be made by whoever it is for, and be there to lead astray who has
    more rights: links are not followed, and what is no file of one name is left alone.
    """
    sent = 0
    top = folder.resolve()
    for inside in (top, *sorted(top.glob("*/"))):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), _opened(inside) as handle:
            _remove_unborn(handle)
            for name in sorted(each for each in os.listdir(handle) if each.endswith(".jsonl")):
                sent += _forward_file(name, handle, send)
    return sent


def _forward_file(name: str, folder: int, send: Send) -> int:
    file = _plain_file(name, folder)
    if file is None:
        return 0
    sent = 0
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        if os.fstat(file.fileno()).st_nlink == 0:
            return 0  # another forwarder finished it between our opening and our locking
        for batch in _batches(_events(file)):
            send(batch)
            sent += len(batch)
        _remove(name, folder)
    return sent


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Raises FileNotFoundError, and NotADirectoryError for a link too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _plain_file(name: str, folder: int) -> BinaryIO | None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return None  # it has gone, is a link, a socket
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(handle)
        return None
    return os.fdopen(handle, "rb")


def _remove(name: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(name, dir_fd=folder)


def _events(file: BinaryIO) -> Iterator[dict[str, Any]]:
    calls = Unfinished()
    for line in _lines(file):
        try:
            found = calls.event(json.loads(line))
        except (ValueError, RecursionError):
            # Torn: the process died while writing it. What follows (a disk's damage may be
            # anywhere) still counts.
            continue
        if found is not None and _can_be_sent(found):
            yield found
    yield from calls.estimates()


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Without those that are too long, of which no more is kept in memory than of others."""
    begins = True
    while line := file.readline(MOST_LINE_BYTES):
        ends = line.endswith(b"\n")
        if begins and (ends or len(line) < MOST_LINE_BYTES):
            yield line
        begins = ends


def _can_be_sent(value: Any, depth: int = MOST_DEPTH) -> bool:
    """Whether every JSON library writes it: one line that does not go must not hold up others."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_can_be_sent(each, depth - 1) for each in inner)
    return not isinstance(value, float) or math.isfinite(value)


def _remove_unborn(folder: int) -> None:
    """Of processes that died while they made a file; all that it says stands in another."""
    for name in os.listdir(folder):
        if name.endswith(".new"):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if time.time() - found.st_mtime > UNBORN_SECONDS:
                    os.unlink(name, dir_fd=folder)


def _batches(events: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
