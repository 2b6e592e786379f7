"""How many calls may be in flight: fewer while the event loop falls behind.

Who comes beyond that is refused at once, so that those that are in are answered in time. The limit
follows what the loop keeps up with: it falls by a fifth when the loop is late and rises slowly when
it is not (additive increase, multiplicative decrease, as in RFC 5681). Event loop only.
"""

import asyncio
from collections.abc import Callable

from dormouse_predictors.errors import overloaded

LATE_SECONDS = 0.1
EVERY_SECONDS = 0.05
LEAST, MOST = 128, 100_000
"""More than wait in a service's queue: those cost nothing while they wait."""


class Intake:
    def __init__(self) -> None:
        self.limit = MOST

    def check(self, in_flight: int) -> None:
        """Raises `CallError`."""
        if in_flight > self.limit:
            raise overloaded()

    def learn(self, late_seconds: float, in_flight: int) -> None:
        """By how much the loop was late while so many calls were in flight."""
        if late_seconds > LATE_SECONDS:
            self.limit = max(LEAST, min(self.limit, in_flight) * 4 // 5)
        else:
            self.limit = min(MOST, self.limit + max(1, self.limit // 16))

    async def watch(self, in_flight: Callable[[], int]) -> None:
        """Never returns."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(EVERY_SECONDS)
            self.learn(loop.time() - began - EVERY_SECONDS, in_flight())
