"""Decisions that the gateway may apply by itself, in a file that both have mapped into memory.

Only the authorizer puts decisions in and takes them out; the gateway counts the calls that it let
through by them. A slot that was taken out is used again only once it is settled, so that a call
which read it just before is still counted there.
"""

import hashlib
import math
import mmap
import os
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from dormouse_control.gateway import slots

SETTLE_SECONDS = 0.05
"""How long to wait before settling: no call takes longer from reading a slot to counting itself."""

_WORD = 8
_LENGTHS = (
    slots.TOKEN_LENGTH,
    slots.ADDRESS_LENGTH,
    slots.PREFIX_LENGTH,
    slots.MIDDLE_LENGTH,
    slots.SUFFIX_LENGTH,
)


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


@dataclass(frozen=True)
class Answer:
    """What the gateway says in our place. Bodies may have `max_bytes`; None: as many as may.

    `limits` is the value of x-dormouse-limits in three parts: between them stand the requests and
    the tokens that are left.
    """

    token: str
    address: str
    limits: tuple[str, str, str]
    max_bytes: int | None = None


class DecisionTable:
    """Not safe to use from several threads. Raises `OSError` if there is no room for the file."""

    def __init__(self, path: Path) -> None:
        self._order = threading.Lock()
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Room on the disk now: writing to a file with holes would end both processes later.
            os.posix_fallocate(handle, 0, slots.FILE_WORDS * _WORD)
            self._bytes = mmap.mmap(handle, slots.FILE_WORDS * _WORD)
            said = _said(handle)
        finally:
            os.close(handle)
        self._words = memoryview(self._bytes).cast("d")
        self._version = float(time.time_ns() // 1_000_000)
        self._settling: set[int] = set()
        for number in said:  # what a process before us decided counts no more
            self._words[number * slots.WORDS + slots.VERSION] = 0

    def live(self, until: float) -> None:
        """Decisions count until then, in seconds since 1970; to be said again before."""
        self._words[slots.ALIVE_UNTIL] = until

    def put(self, call: Call, answer: Answer, *, until: float) -> Slot | None:
        """A decision without permits; None if there is no room for it."""
        digest = call.digest()
        parts = [answer.token, answer.address, *answer.limits]
        text = "".join(parts).encode("latin-1")
        number = self._free(digest)
        if number is None or len(text) > slots.TEXT_BYTES:
            return None
        at = number * slots.WORDS
        words = self._words
        for worker in range(slots.MAX_WORKERS):
            words[at + slots.ALLOWED + worker] = words[at + slots.TAKEN + worker]
        words[at + slots.UNTIL] = until
        words[at + slots.MAX_BYTES] = math.inf if answer.max_bytes is None else answer.max_bytes
        words[at + slots.REST], words[at + slots.TOKENS_REST] = 0, -1
        for place, part in zip(_LENGTHS, parts, strict=True):
            words[at + place] = len(part)
        start = at * _WORD
        struct.pack_into(
            f"{slots.DIGEST_BYTES}s", self._bytes, start + slots.DIGEST * _WORD, digest
        )
        struct.pack_into(f"{len(text)}s", self._bytes, start + slots.TEXT * _WORD, text)
        self._version += 1
        # Who sees the version must see all before it. Two uses of a lock are what Python has for a
        # barrier where the processor keeps no order (arm64).
        with self._order:
            pass
        with self._order:
            words[at + slots.VERSION] = self._version
        return Slot(number, self._version)

    def taken(self, slot: Slot) -> int:
        """How many calls were ever let through by decisions that stood in this place."""
        at = slot.number * slots.WORDS + slots.TAKEN
        return int(sum(self._words[at : at + slots.MAX_WORKERS]))

    def left(self, slot: Slot, worker: int) -> int:
        """How many calls may go through `worker`."""
        at = slot.number * slots.WORDS + worker
        return int(self._words[at + slots.ALLOWED] - self._words[at + slots.TAKEN])

    def tell_rest(self, slot: Slot, requests: int, tokens: int | None) -> None:
        """What is left of limits beside all permits; callers are told. None: there is no limit."""
        at = slot.number * slots.WORDS
        self._words[at + slots.REST] = requests
        self._words[at + slots.TOKENS_REST] = -1 if tokens is None else tokens

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


def _said(handle: int) -> list[int]:
    """The slots that say something. Read past the mapping, which would keep all of it in memory."""
    found: list[int] = []
    together = 512
    size = slots.WORDS * _WORD
    for first in range(0, slots.SLOTS, together):
        words = memoryview(os.pread(handle, together * size, first * size)).cast("d")
        versions = words[slots.VERSION :: slots.WORDS]
        found += [first + number for number, version in enumerate(versions) if version]
    return found
