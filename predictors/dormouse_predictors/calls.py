"""One call from its arrival to its end, whoever ends it: the engine, the caller who hangs up, the
clock, or somebody who takes the right to it away. Event loop only.
"""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

from dormouse.tokens import InternalClaims
from dormouse_predictors.errors import access_expired
from dormouse_predictors.receiving import ClientGone, Receive, disconnected

LONGEST_SECONDS = 86400.0
"""No call lasts so long, and clocks of event loops do not count for ever."""


class Call:
    """`end` is what to do when it must end early; `error` then says why."""

    def __init__(self, claims: InternalClaims) -> None:
        self.claims = claims
        self.error: Exception | None = None
        self.end: Callable[[], None] = _nothing

    def finish(self, error: Exception) -> None:
        """Only the first time counts."""
        if self.error is None:
            self.error = error
            self.end()


class Hearing:
    """Listens for the caller's hanging up, once the body has been read and as long as it lasts."""

    def __init__(self, call: Call, receive: Receive) -> None:
        self._call = call
        self.receive = receive
        self._listening: asyncio.Task[None] | None = None

    def listen(self) -> None:
        self._listening = asyncio.create_task(disconnected(self.receive))
        self._listening.add_done_callback(self._gone)

    def stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()

    def _gone(self, listening: "asyncio.Task[None]") -> None:
        if not listening.cancelled():
            self._call.finish(ClientGone())


class Expiring:
    """While this lasts, the call ends when the right to it ends by itself. Entering raises
    `CallError` if it has."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._clock: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        until = self._call.claims.until
        if until is None:
            return
        left = until - time.time()
        if left <= 0:
            raise access_expired()
        loop = asyncio.get_running_loop()
        self._clock = loop.call_later(
            min(left, LONGEST_SECONDS), lambda: self._call.finish(access_expired())
        )

    def __exit__(self, *_: object) -> None:
        if self._clock is not None:
            self._clock.cancel()


class Interrupted:
    """While a call is on its way to the engine: its `error` is raised as soon as it must end."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._struck = False
        self._soon: asyncio.Handle | None = None
        self._call.end = self._end

    def _end(self) -> None:
        # Not at once: the task itself may be who says so, and would be cancelled somewhere else.
        self._soon = asyncio.get_running_loop().call_soon(self._strike)

    def _strike(self) -> None:
        self._struck = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call.end = _nothing
        if self._soon is not None:
            self._soon.cancel()
        # As `asyncio.timeout` does it: somebody else who cancels the task is not to be swallowed.
        ours = self._struck and self._task.uncancel() <= self._before
        by_us = ours and isinstance(error, asyncio.CancelledError)
        if self._call.error is not None and (by_us or error is None):
            raise self._call.error from None


def _nothing() -> None:
    return None
