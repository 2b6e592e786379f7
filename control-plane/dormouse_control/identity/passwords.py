"""Passwords: what is accepted, and hashing that cannot take the machine down.

A hash costs 20 MiB and tens of milliseconds of one core, so there are at most as many at once as
cores, a few more wait for a moment, and the rest are told to come back.
"""

import os
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from dormouse_control.errors import Busy, InvalidValue

LONGEST_BYTES = 1024
_WAITING = 8
_WAIT_SECONDS = 2.0


class Passwords:
    """Thread-safe. `hash` and `verify` raise `Busy`."""

    def __init__(self, *, at_once: int | None = None, wait_seconds: float = _WAIT_SECONDS) -> None:
        at_once = at_once or os.cpu_count() or 1
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._room = threading.Semaphore(at_once + _WAITING)
        self._hashing = threading.Semaphore(at_once)
        self._wait_seconds = wait_seconds
        self._nobodys = self._hasher.hash("nobody's password")

    def hash(self, password: str) -> str:
        with self._turn():
            return self._hasher.hash(normal(password))

    def verify(self, password: str, known: str | None) -> bool:
        """Takes as long for `known` None, which no password fits."""
        with self._turn():
            try:
                self._hasher.verify(known or self._nobodys, normal(password))
            except (VerifyMismatchError, InvalidHashError):
                return False
            return known is not None

    @contextmanager
    def _turn(self) -> Iterator[None]:
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


def normal(password: str) -> str:
    """The one form of it: keyboards write the same letter in different ways."""
    return unicodedata.normalize("NFC", password)


def check_new(password: str, *, email: str, min_length: int) -> None:
    """Raises `InvalidValue` if nobody should have this password. `email` is canonical."""
    password = normal(password)
    if len(password) < min_length:
        raise InvalidValue(
            f"The password must have at least {min_length} characters.", param="password"
        )
    if len(set(password)) == 1:
        raise InvalidValue("The password is one character repeated.", param="password")
    if unicodedata.normalize("NFKC", password).casefold() == email:
        raise InvalidValue("The password must not be the e-mail address.", param="password")
