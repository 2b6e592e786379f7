"""Wakes who waits for revocations the moment one is committed in this process, and waits for them.

Whoever is told that something was taken back may rely on it, even if this process dies right then:
so a commit returns when all who follow have heard, or after a moment. Commits of other processes
are looked for from time to time, once for all who wait (`watch`).
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

import structlog
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

from dormouse_control.identity.revocations import RECORDED

log = structlog.get_logger(__name__)

WATCH_SECONDS = 0.15
LOST_SECONDS = 3.0
"""A look that takes longer hangs with a connection that is gone; the next takes another."""
HEARD_SECONDS = 0.3
"""A follower that takes longer is not waited for again until it asks again."""


class Bell:
    """Thread-safe: commits are made in threads, and waiting is done in event loops."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._lock = threading.Condition()
        self._listening: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._heard: dict[str, int] = {}
        event.listen(sessions, "after_commit", self._committed)
        event.listen(sessions, "after_rollback", _given_up)

    @contextlib.contextmanager
    def listening(self, follower: str | None, heard: int) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set whenever the bell rings.

        `follower` has acted on all up to number `heard`; who gives no name is not waited for.
        """
        listener = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._listening.add(listener)
            if follower is not None:
                self._heard[follower] = heard
                self._lock.notify_all()
        try:
            yield listener[1]
        finally:
            with self._lock:
                self._listening.discard(listener)

    async def watch(self, newest: Callable[[], int]) -> None:
        """Never returns. `newest` is asked in a thread for the number of the last revocation."""
        known = -1
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not self._listening:
                continue
            try:
                found = await asyncio.wait_for(asyncio.to_thread(newest), LOST_SECONDS)
            except Exception as error:
                # Such as a database that is away: who waits goes on waiting.
                log.warning("revocations_not_watched", reason=repr(error))
                await asyncio.sleep(1)
                continue
            if found != known:
                known = found
                self._ring()

    def leaves(self, follower: str | None) -> None:
        """It hung up; nobody waits for it."""
        with self._lock:
            if follower is not None:
                self._heard.pop(follower, None)
            self._lock.notify_all()

    def _committed(self, session: Session) -> None:
        if session.in_nested_transaction():
            return
        last: int | None = session.info.pop(RECORDED, None)
        if last is None:
            return
        with self._lock:
            self._ring()
            if not self._lock.wait_for(lambda: not self._behind(last), HEARD_SECONDS):
                for follower in self._behind(last):
                    del self._heard[follower]

    def _ring(self) -> None:
        with self._lock:
            for loop, rung in self._listening:
                with contextlib.suppress(RuntimeError):  # a loop that ended hears nothing
                    loop.call_soon_threadsafe(rung.set)

    def _behind(self, last: int) -> list[str]:
        return [follower for follower, heard in self._heard.items() if heard < last]


def _given_up(session: Session) -> None:
    session.info.pop(RECORDED, None)
