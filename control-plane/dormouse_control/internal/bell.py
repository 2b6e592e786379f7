"""Wakes who waits for revocations the moment one is committed in this process.

Commits of other processes ring nothing here: whoever waits also looks from time to time.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

from dormouse_control.identity.revocations import RECORDED


class Bell:
    """Thread-safe: commits are made in threads, and waiting is done in event loops."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._lock = threading.Lock()
        self._listening: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        event.listen(sessions, "after_commit", self._committed)
        event.listen(sessions, "after_rollback", _given_up)

    @contextlib.contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set whenever the bell rings."""
        listener = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._listening.add(listener)
        try:
            yield listener[1]
        finally:
            with self._lock:
                self._listening.discard(listener)

    def _committed(self, session: Session) -> None:
        if not session.in_nested_transaction() and session.info.pop(RECORDED, False):
            with self._lock:
                listening = list(self._listening)
            for loop, rung in listening:
                with contextlib.suppress(RuntimeError):  # a loop that ended hears nothing
                    loop.call_soon_threadsafe(rung.set)


def _given_up(session: Session) -> None:
    session.info.pop(RECORDED, None)
