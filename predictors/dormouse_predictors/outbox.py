"""The way of answers from the engine's thread back to the event loop."""

import asyncio
from collections import deque
from dataclasses import dataclass

from dormouse_predictors.base import Embedded, Generation, Piece
from dormouse_predictors.errors import CallError


@dataclass(frozen=True)
class Done:
    """The call has ended well and its usage is on disk. `result` is None after a stream."""

    result: Generation | Embedded | None


@dataclass(frozen=True)
class Failed:
    error: CallError


Item = Piece | Done | Failed


class Bell:
    """Wakes the event loop once for all outboxes into which something was put meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._rung: deque[Outbox] = deque()
        self._waking = False

    def ring(self, outbox: "Outbox") -> None:
        """From any thread."""
        self._rung.append(outbox)
        if not self._waking and not self.loop.is_closed():
            self._waking = True
            self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._waking = False  # first: who rings from now on wakes again
        while self._rung:
            self._rung.popleft().wake()


class Outbox:
    """Of one call. Put into by the engine's thread, emptied on the event loop."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._items: deque[Item] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._rung = False

    def put(self, item: Item) -> None:
        self._items.append(item)
        if not self._rung:
            self._rung = True
            self._bell.ring(self)

    def wake(self) -> None:
        self._rung = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def waits(self, seconds: float) -> bool:
        """Whether there is something to take, within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._come()
        except TimeoutError:
            return False
        return True

    async def take(self) -> list[Item]:
        """Everything that has come since the last time; waits for at least one."""
        await self._come()
        return [self._items.popleft() for _ in range(len(self._items))]

    async def _come(self) -> None:
        while not self._items:
            self._waiter = self._bell.loop.create_future()
            await self._waiter
