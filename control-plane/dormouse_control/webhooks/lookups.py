"""Looks up where names of receivers lead, on threads that nobody else needs and nobody waits for.

Whoever owns a name decides how long that takes: its name server may never answer, and a thread that
asks the system's resolver cannot be told to stop.
"""

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable

MOST = 64
"""Threads. Those that hang end by themselves, when the resolver gives up."""

MOST_OF_A_USER = 6


class Lookups:
    """`addresses` is for one event loop."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()

    async def addresses(self, user: str, host: str, port: int) -> list[str]:
        """Raises OSError, also if too many lookups hang; then it is better tried again later."""
        if self._running.total() >= MOST or self._running[user] >= MOST_OF_A_USER:
            raise socket.gaierror(socket.EAI_AGAIN, "too many lookups hang")
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def end(tell: Callable[[], None]) -> None:
            self._running[user] -= 1
            if not found.done():
                tell()

        def look_up() -> None:
            try:
                answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses = [str(each[4][0]) for each in answers]
            except Exception as error:
                failure = error
                tell: Callable[[], None] = lambda: found.set_exception(failure)  # noqa: E731
            else:
                tell = lambda: found.set_result(addresses)  # noqa: E731
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(end, tell)

        self._running[user] += 1
        threading.Thread(target=look_up, name="webhook-lookup", daemon=True).start()
        return await found
