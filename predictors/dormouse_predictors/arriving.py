"""Bounds what bodies take that have not come whole: the gateway lets long ones go on as they come.

Event loop only.
"""

from collections import Counter

from dormouse_predictors.errors import overloaded

MOST = 256 * 1024 * 1024
MOST_OF_ONE = MOST // 4
"""Bytes of all users, and of each: nobody keeps the others out by being slow."""


class Arriving:
    """`calls` are those whose bodies are on their way."""

    def __init__(self) -> None:
        self.calls = 0
        self.held: Counter[str] = Counter()

    def body(self, user: str) -> "Body":
        """One that is on its way, as long as it is entered."""
        return Body(self, user)


class Body:
    def __init__(self, arriving: Arriving, user: str) -> None:
        self._arriving = arriving
        self._user = user
        self._size = 0

    def __enter__(self) -> "Body":
        self._arriving.calls += 1
        return self

    def grow(self, size: int) -> None:
        """By so many bytes. Raises `CallError`; a single body may be as long as bodies may be."""
        held = self._arriving.held
        for others, most in (
            (held.total() - self._size, MOST),
            (held[self._user] - self._size, MOST_OF_ONE),
        ):
            if others and others + self._size + size > most:
                raise overloaded()
        self._size += size
        held[self._user] += size

    def __exit__(self, *_: object) -> None:
        self._arriving.calls -= 1
        held = self._arriving.held
        held[self._user] -= self._size
        if not held[self._user]:
            del held[self._user]
