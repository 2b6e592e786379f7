"""Bounds what bodies take that have not come whole: the gateway lets long ones go on as they come.

Only of long ones; short ones are bounded by the number of calls. Event loop only.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator

from dormouse_predictors.errors import overloaded

LONG = 256 * 1024
MOST = 256 * 1024 * 1024
MOST_OF_ONE = MOST // 4
"""Bytes of all users, and of each: nobody keeps the others out by being slow."""


class Arriving:
    """`calls` are those whose bodies are on their way, short ones too."""

    def __init__(self) -> None:
        self.calls = 0
        self._held: Counter[str] = Counter()

    @contextlib.contextmanager
    def room(self, user: str, size: int) -> Iterator[None]:
        """For a body of `size` bytes. A single one always fits. Raises `CallError`."""
        with self._held_by(user, size) if size > LONG else contextlib.nullcontext():
            self.calls += 1
            try:
                yield
            finally:
                self.calls -= 1

    @contextlib.contextmanager
    def _held_by(self, user: str, size: int) -> Iterator[None]:
        of_all, of_one = self._held.total(), self._held[user]
        if (of_all and of_all + size > MOST) or (of_one and of_one + size > MOST_OF_ONE):
            raise overloaded()
        self._held[user] += size
        try:
            yield
        finally:
            self._held[user] -= size
            if not self._held[user]:
                del self._held[user]
