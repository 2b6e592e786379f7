"""Does something about those of many that are still there after a while.

Most calls are over in a moment. A timer of its own would cost each of them more than this does:
there is one for all, and it is set for the first of them. Event loop only.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Later(Generic[Item]):
    """Calls `act` with each item that is still there `seconds` after it was added."""

    def __init__(self, seconds: float, act: Callable[[Item], None]) -> None:
        self._seconds = seconds
        self._act = act
        self._loop = asyncio.get_running_loop()
        self._due: dict[Item, float] = {}  # all wait equally long, so they stand in order
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: Item) -> None:
        self._due[item] = due = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._look)

    def discard(self, item: Item) -> None:
        self._due.pop(item, None)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        ripe = []
        for item, due in self._due.items():
            if due > now:
                self._timer = self._loop.call_at(due, self._look)
                break
            ripe.append(item)
        for item in ripe:
            self.discard(item)
        for item in ripe:
            self._act(item)
