"""What a database cannot know once an older copy of it was put back: files beside it.

`epoch` says how often the database was written and how far its revocations went; `revoked.journal`
what was taken away from whom, on disk before it is committed.
"""

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any  # limits of a key, as JSON has them

from dormouse_control import private_files

KEPT_SECONDS = 400 * 24 * 3600.0
"""No older backup may be put back."""


@dataclass(frozen=True)
class Marks:
    writes: int = 0
    revocation: int = 0


@dataclass(frozen=True)
class Loss:
    """What was left to a user when something was taken away, in write number `writes`.

    `ends` says which of `services` end, and when. `identities` are the ids of those at providers.
    `key` was revoked in it, or with `limits` changed to these; the recovery code `code` was used.
    `password` is a hash of the password's hash, only to see whether it is still the same.
    """

    writes: int
    time: float
    user: str
    status: str
    role: str
    password: str | None
    services: list[str]
    ends: dict[str, str] = field(default_factory=dict)
    tier: str | None = None
    identities: list[str] | None = None
    key: str | None = None
    limits: dict[str, Any] | None = None
    code: str | None = None


class Journal:
    """Safe to use from many threads of the one process that writes."""

    def __init__(self, home: Path) -> None:
        self._epoch = home / "epoch"
        self._losses = home / "revoked.journal"
        self._lock = threading.Lock()
        self._marks: Marks | None = None

    def marks(self) -> Marks:
        """As far as the database is known to have got."""
        with self._lock:
            return self._known()

    def advance(self, writes: int, revocation: int) -> None:
        """After a commit. Not synced: a process that is killed loses nothing by that."""
        with self._lock:
            known = self._known()
            self._marks = Marks(max(known.writes, writes), max(known.revocation, revocation))
            if self._marks != known:
                line = f"{self._marks.writes:020} {self._marks.revocation:020}\n"
                _overwrite(self._epoch, line.encode())

    def append(self, losses: Sequence[Loss]) -> None:
        """On disk when this returns."""
        # Whatever a machine that lost power left of the line before, ours begins a new one.
        lines = "".join("\n" + json.dumps(asdict(loss)) + "\n" for loss in losses)
        handle = os.open(self._losses, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "ab") as file:  # all of it, or an error: a full disk takes half
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())

    def losses(self, *, after: int) -> list[Loss]:
        """In the order of the writes, those after number `after`."""
        found = [loss for loss in self._read() if loss.writes > after]
        return sorted(found, key=lambda loss: loss.writes)

    def prune(self, *, now: float) -> None:
        found = self._read()
        kept = [loss for loss in found if loss.time + KEPT_SECONDS > now]
        if kept != found:
            lines = "".join(json.dumps(asdict(loss)) + "\n" for loss in kept)
            private_files.write(self._losses, lines.encode())

    def _read(self) -> list[Loss]:
        if not self._losses.exists():
            return []
        found = []
        for line in self._losses.read_text("utf-8", "replace").splitlines():
            try:
                found.append(Loss(**json.loads(line)))
            except (ValueError, TypeError):
                continue  # an empty line, or half of one that was never committed
        return found

    def _known(self) -> Marks:
        if self._marks is None:
            try:
                writes, revocation = self._epoch.read_text("ascii").split()
                self._marks = Marks(int(writes), int(revocation))
            except FileNotFoundError:
                self._marks = Marks()
        return self._marks


def _overwrite(path: Path, content: bytes) -> None:
    """Content of the same length each time, in one write: what is there is old or new."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(handle, content, 0)
    finally:
        os.close(handle)
