"""Decisions that the gateway may apply by itself, in a file that both have mapped into memory.

Only the authorizer puts decisions in and takes them out; the gateway counts the calls that it let
through by them. A slot that was taken out is used again only once it is settled, so that a call
which read it just before is still counted there.
"""

import hashlib
import mmap
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from dormouse_control.gateway import slots

SETTLE_SECONDS = 0.05
"""How long to wait before settling: no call takes longer from reading a slot to counting itself."""

_WORD = 8


@dataclass(frozen=True)
class Call:
    """What the gateway recognises a call by, each as it came."""

    credential: str
    path: str
    priority: str
    model: str

    def digest(self) -> bytes:
        text = "\n".join((self.credential, self.path, self.priority, self.model))
        return hashlib.sha256(text.encode("latin-1")).digest()[: slots.DIGEST_BYTES]


@dataclass(frozen=True)
class Slot:
    """A decision's place. It says nothing any more once another version stands there."""

    number: int
    version: float


class DecisionTable:
    """Not safe to use from several threads. Raises `OSError` if there is no room for the file."""

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Room on the disk now: writing to a file with holes would end both processes later.
            os.posix_fallocate(handle, 0, slots.FILE_WORDS * _WORD)
            self._bytes = mmap.mmap(handle, slots.FILE_WORDS * _WORD)
        finally:
            os.close(handle)
        self._words = memoryview(self._bytes).cast("d")
        self._version = float(time.time_ns() // 1_000_000)
        self._settling: set[int] = set()
        for number in range(slots.SLOTS):  # what a process before us decided counts no more
            if self._words[number * slots.WORDS + slots.VERSION]:
                self._words[number * slots.WORDS + slots.VERSION] = 0

    def live(self, until: float) -> None:
        """Decisions count until then, in seconds since 1970; to be said again before."""
        self._words[slots.ALIVE_UNTIL] = until

    def put(self, call: Call, *, token: str, address: str, until: float) -> Slot | None:
        """A decision without permits; None if there is no room for it."""
        digest = call.digest()
        text = f"{token}{address}".encode("latin-1")
        number = self._free(digest)
        if number is None or len(text) > slots.TEXT_BYTES:
            return None
        at = number * slots.WORDS
        words = self._words
        for worker in range(slots.MAX_WORKERS):
            words[at + slots.ALLOWED + worker] = words[at + slots.TAKEN + worker]
        words[at + slots.UNTIL] = until
        words[at + slots.TOKEN_LENGTH] = len(token)
        words[at + slots.ADDRESS_LENGTH] = len(address)
        start = at * _WORD
        struct.pack_into(
            f"{slots.DIGEST_BYTES}s", self._bytes, start + slots.DIGEST * _WORD, digest
        )
        struct.pack_into(f"{len(text)}s", self._bytes, start + slots.TEXT * _WORD, text)
        self._version += 1
        words[at + slots.VERSION] = self._version
        return Slot(number, self._version)

    def allow(self, slot: Slot, worker: int, calls: int) -> None:
        """So many more calls may go through `worker` by this decision."""
        self._words[slot.number * slots.WORDS + slots.ALLOWED + worker] += calls

    def withdraw(self, slot: Slot) -> None:
        """No call goes through by it from now on; settle it `SETTLE_SECONDS` later."""
        self._words[slot.number * slots.WORDS + slots.VERSION] = 0
        self._settling.add(slot.number)

    def settle(self, slot: Slot) -> int:
        """How many permits of a withdrawn decision were not used; its place is free again."""
        at = slot.number * slots.WORDS
        self._settling.remove(slot.number)
        allowed = self._words[at + slots.ALLOWED : at + slots.ALLOWED + slots.MAX_WORKERS]
        taken = self._words[at + slots.TAKEN : at + slots.TAKEN + slots.MAX_WORKERS]
        return int(sum(allowed) - sum(taken))

    def _free(self, digest: bytes) -> int | None:
        first = slots.first_slot(digest)
        for probe in range(slots.PROBES):
            number = (first + probe) % slots.SLOTS
            said = self._words[number * slots.WORDS + slots.VERSION]
            if not said and number not in self._settling:
                return number
        return None
