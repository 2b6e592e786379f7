"""Passwords: what is accepted, and hashing that cannot take the machine down.

A hash costs 19 MiB and tens of milliseconds of one core, so there are at most as many at once as
cores, a few more wait for a moment, and the rest are told to come back. Hashing has threads of its
own: they give way to ordinary calls, and only they ever hold the memory that it takes.
"""

import os
import sys
import threading
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from dormouse_control.errors import Busy, InvalidValue
from dormouse_control.identity.weak_passwords import weakness

LONGEST_BYTES = 1024
WITH_SECOND_FACTOR = 8
"""Fewest characters beside a second factor (NIST SP 800-63B-4, 3.1.1.2)."""

_WAITING = 8
_WAIT_SECONDS = 2.0
_NICENESS = 10


class Passwords:
    """Thread-safe. What hashes waits for its turn and may raise `Busy`."""

    def __init__(
        self,
        *,
        hasher: PasswordHasher | None = None,
        at_once: int | None = None,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        at_once = at_once or os.cpu_count() or 1
        self._hasher = hasher or PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._room = threading.Semaphore(at_once + _WAITING)
        self._hashing = threading.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once, "hashing", initializer=_give_way)
        self._wait_seconds = wait_seconds
        self._nobodys = self._hasher.hash("nobody's password")

    def hash(self, password: str) -> str:
        with self.turn():
            return self._hashed(password)

    def verify(self, password: str, known: str | None) -> bool:
        """Takes as long for `known` None, which no password fits."""
        with self.turn():
            return self.fits(password, known)

    def fits(self, password: str, known: str | None) -> bool:
        """`verify` for who has the turn."""
        try:
            wanted = known or self._nobodys
            self._threads.submit(self._hasher.verify, wanted, normal(password)).result()
        except (VerifyMismatchError, InvalidHashError):
            return False
        return known is not None

    def renewed(self, password: str, known: str) -> str | None:
        """The hash to keep instead, if ours cost more by now. For who has the turn."""
        if not self._hasher.check_needs_rehash(known):
            return None
        return self._hashed(password)

    def _hashed(self, password: str) -> str:
        return self._threads.submit(self._hasher.hash, normal(password)).result()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A place among those who may hash now."""
        if not self._room.acquire(blocking=False):
            raise Busy("Too many people are signing in at the moment. Try again in a second.")
        try:
            if not self._hashing.acquire(timeout=self._wait_seconds):
                raise Busy("Too many people are signing in at the moment. Try again in a second.")
            try:
                yield
            finally:
                self._hashing.release()
        finally:
            self._room.release()


def _give_way() -> None:
    # Only on Linux has a thread a priority of its own, and an id that no process has.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def normal(password: str) -> str:
    """The one form of it: keyboards write the same letter in different ways."""
    return unicodedata.normalize("NFKC", password)


def length(password: str) -> int:
    """Its characters. One may become eighteen in the normal form, and is no harder to guess."""
    return min(len(password), len(normal(password)))


def check_new(password: str, *, email: str, min_length: int) -> None:
    """Raises `InvalidValue` if nobody should have this password. `email` is canonical."""
    if len(password.encode("utf-8", "surrogatepass")) > LONGEST_BYTES:
        raise _refusal(f"The password may have at most {LONGEST_BYTES} bytes. Take a shorter one.")
    if "\x00" in password:
        raise _refusal("The password holds a NUL character. Leave it out.")
    if length(password) < min_length:
        raise _refusal(
            f"The password must have at least {min_length} characters. Several words that have"
            " nothing to do with each other make a good one."
        )
    reason = weakness(normal(password), email=email)
    if reason is not None:
        raise _refusal(
            f"The password is easily guessed: {reason}. Take several words that have nothing to"
            " do with each other, or let a password manager make one."
        )


def _refusal(message: str) -> InvalidValue:
    return InvalidValue(message, param="password")
