"""How many predictors start at the same time: as many as there are cores.

To load a model is work for a core. More of it at once makes each of them late, and the threads of
one wait for those of the others.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

PATIENCE_SECONDS = 2.0
"""Who starts for longer than this reads or downloads, and nobody waits for that."""


class Starts:
    """For an event loop's tasks, in the order in which they come, whoever waits for them."""

    def __init__(self, at_once: int, *, patience: float = PATIENCE_SECONDS) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._patience = patience
        self._here = 0
        self._calm = asyncio.Event()
        self._calm.set()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The next one's turn comes when the block is left, or after `patience` seconds of it."""
        with self._counted():
            await self._free.acquire()
            turn = _Turn(self._free)
            patience = asyncio.get_running_loop().call_later(self._patience, turn.give_on)
            try:
                yield
            finally:
                patience.cancel()
                turn.give_on()

    async def calm(self, seconds: float) -> None:
        """Returns when nobody has or wants a turn, or after so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._calm.wait(), seconds)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._here += 1
        self._calm.clear()
        try:
            yield
        finally:
            self._here -= 1
            if not self._here:
                self._calm.set()


class _Turn:
    """Is given on once."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free: asyncio.Semaphore | None = free

    def give_on(self) -> None:
        if self._free is not None:
            self._free.release()
            self._free = None
