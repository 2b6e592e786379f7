"""A thread with an event loop of its own, for what the control plane does beside its API."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

log = structlog.get_logger(__name__)

Work = Callable[[asyncio.Event], Coroutine[None, None, None]]
"""Goes on until the event is set, and then ends by itself."""

_Found = TypeVar("_Found")

_THREADS = 2
"""That use the database, whatever is waited for meanwhile."""


class Background:
    def __init__(self, works: Sequence[Work], *, name: str) -> None:
        self._works = works
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def stop(self, seconds: float) -> None:
        """Returns when all has ended, or after so long."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(seconds)

    def _run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        with ThreadPoolExecutor(_THREADS) as pool:
            self._loop.set_default_executor(pool)
            self._ready.set()
            await asyncio.gather(*(work(self._stop) for work in self._works))


async def to_its_end(step: Callable[..., _Found], *given: object) -> _Found:
    """Do it in a thread. Who is cancelled meanwhile hears of it when it has ended: nobody goes on
    as if it had not happened, while it still does."""
    work = asyncio.ensure_future(asyncio.to_thread(step, *given))
    cancelled = False
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            cancelled = True
    failure = work.exception()
    if cancelled:
        raise asyncio.CancelledError
    if failure is not None:
        raise failure
    return work.result()


async def repeat(
    stop: asyncio.Event, step: Callable[[], Coroutine[None, None, None]], *, seconds: float
) -> None:
    """Do it again and again. A failure, such as a database that is away, is logged."""
    while not stop.is_set():
        try:
            await step()
        except Exception:
            # Whatever it was: what comes later must be done all the same.
            log.exception("background_failed")
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            continue
