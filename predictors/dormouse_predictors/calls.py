"""One call from its arrival to its end, whoever ends it: the engine, the caller who hangs up, the
clock, or somebody who takes the right to it away. Event loop only.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from dormouse.tokens import InternalClaims
from dormouse_predictors.errors import access_expired

LONGEST_SECONDS = 86400.0
"""No call lasts so long, and clocks of event loops do not count for ever."""


class Call:
    """`end` is what to do when it must end early; `error` then says why."""

    def __init__(self, claims: InternalClaims) -> None:
        self.claims = claims
        self.error: Exception | None = None
        self.end: Callable[[], None] = lambda: None

    def finish(self, error: Exception) -> None:
        """Only the first time counts."""
        if self.error is None:
            self.error = error
            self.end()


@contextmanager
def expiring(call: Call) -> Iterator[None]:
    """End the call when the right to it ends by itself. Raises `CallError` if it has."""
    if call.claims.until is None:
        yield
        return
    left = call.claims.until - time.time()
    if left <= 0:
        raise access_expired()
    loop = asyncio.get_running_loop()
    clock = loop.call_later(min(left, LONGEST_SECONDS), lambda: call.finish(access_expired()))
    try:
        yield
    finally:
        clock.cancel()


@asynccontextmanager
async def interrupted_by(call: Call) -> AsyncIterator[None]:
    """While a call is on its way to the engine. Raises its `error` as soon as it must end."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            call.end = lambda: limit.reschedule(loop.time())
            yield
    except TimeoutError:
        if call.error is None:
            raise
    if call.error is not None:  # also if the block ended just before its limit struck
        raise call.error
