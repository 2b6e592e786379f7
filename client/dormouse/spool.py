"""The disk spool of usage events: written before a call ends, forwarded until safe elsewhere.

One file per writing process, one event per line. The writer holds a lock on its file, so a file
that nobody locks belongs to a process that died, and whoever finds it may forward and remove it.
Forwarding may repeat an event (a reply can be lost): its id lets the receiver settle it once.
"""

import fcntl
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from dormouse.events import UsageEvent, to_cloudevent

Send = Callable[[Sequence[dict[str, Any]]], None]
"""Delivers a batch of CloudEvents; returns once they are durable elsewhere, raises otherwise."""

BATCH = 500


class SpoolWriter:
    """Appends events for one process and forwards them. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{os.getpid()}-{uuid.uuid4().hex}.jsonl"
        # Locked before it has the name that `forward_abandoned` looks for: never found unlocked.
        unborn = self._path.with_suffix(".new")
        self._file: BinaryIO = unborn.open("xb", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unborn.rename(self._path)
        self._pending: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._forwarding = threading.Lock()

    def append(self, event: UsageEvent) -> None:
        """The event is in the file (survives a killed process) when this returns."""
        document = to_cloudevent(event)
        line = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            _write_whole(self._file, line)
            self._pending.append(document)

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
            if not self._pending:
                self._path.unlink(missing_ok=True)
            self._file.close()

    def _batch(self) -> list[dict[str, Any]]:
        with self._lock:
            if self._file.closed or not self._pending:
                return []
            os.fsync(self._file.fileno())
            return self._pending[:BATCH]

    def _sent(self, count: int) -> None:
        with self._lock:
            del self._pending[:count]
            if not self._pending and not self._file.closed:
                self._file.truncate(0)
                self._file.seek(0)


def _write_whole(file: BinaryIO, line: bytes) -> None:
    start = file.tell()
    try:
        written = file.write(line)
        if written != len(line):
            raise OSError("the spool's disk is full")
    except OSError:
        # Half a line would spoil the next event as well.
        file.truncate(start)
        file.seek(start)
        raise


def forward_abandoned(folder: Path, send: Send) -> int:
    """Forward and remove the files that dead processes left anywhere under `folder`."""
    sent = 0
    for path in sorted(folder.rglob("*.jsonl")):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if os.fstat(file.fileno()).st_nlink == 0:
                continue  # another forwarder finished it between our opening and our locking
            for batch in _batches(_events(file)):
                send(batch)
                sent += len(batch)
            path.unlink(missing_ok=True)
    return sent


def _events(file: BinaryIO) -> Iterator[dict[str, Any]]:
    for line in file:
        try:
            yield json.loads(line)
        except ValueError:
            # Torn: the process died while writing it. What follows (a disk's damage may be
            # anywhere) still counts.
            continue


def _batches(events: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
