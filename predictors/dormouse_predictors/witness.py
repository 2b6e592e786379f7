"""Lets the nest end our streams if we cannot: it holds the connection of every answer that streams.

The nest gets a duplicate of the connection when an answer begins, and hears when it is over. If we
die, it writes the last event in our place (`nest/last_words.py`), so that no reader takes half an
answer for a whole one. Costs nothing per token. Event loop only; never waits, never raises.
"""

import asyncio
import itertools
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any  # an ASGI scope

MESSAGE = struct.Struct("<cQ")
BEGUN, OVER = b"+", b"-"
"""A number that we choose follows; with `BEGUN` comes the connection."""

DESCRIPTOR = "dormouse.descriptor"
"""Extension of an ASGI scope: gives the file descriptor of the connection, or None."""


class Witness:
    """`connection` leads to the nest; None where there is none, as in a container."""

    def __init__(self, connection: socket.socket | None) -> None:
        if connection is not None:
            connection.setblocking(False)
        self._connection = connection
        self._numbers = itertools.count(1)
        self._over: deque[int] = deque()
        self._waiting = False

    def hold(self, scope: Mapping[str, Any]) -> Callable[[], None]:
        """An answer begins; what is returned is to be called when it is over."""
        find = scope.get("extensions", {}).get(DESCRIPTOR)
        descriptor = find() if find is not None else None
        if self._connection is None or descriptor is None:
            return _nothing
        number = next(self._numbers)
        try:
            message = MESSAGE.pack(BEGUN, number)
            socket.send_fds(self._connection, [message], [descriptor])
        except OSError:
            return _nothing  # the nest is too busy, or gone: then the stream breaks off with us
        return partial(self._release, number)

    def close(self) -> None:
        if self._connection is not None:
            if self._waiting:
                asyncio.get_running_loop().remove_writer(self._connection)
            self._connection.close()
            self._connection = None

    def _release(self, number: int) -> None:
        # The loop writes at the end of its turn; what is over must have left before we say so.
        asyncio.get_running_loop().call_soon(self._say_over, number)

    def _say_over(self, number: int) -> None:
        self._over.append(number)
        if not self._waiting:
            self._flush()

    def _flush(self) -> None:
        """All of it: the nest would keep open what it does not hear of."""
        if self._connection is None:
            return
        loop, sending = asyncio.get_running_loop(), self._waiting
        while self._over:
            try:
                self._connection.send(MESSAGE.pack(OVER, self._over[0]))
            except BlockingIOError:
                if not sending:
                    loop.add_writer(self._connection, self._flush)
                    self._waiting = True
                return
            except OSError:
                self._over.clear()  # the nest is gone, and with it what it held
            else:
                self._over.popleft()
        if sending:
            loop.remove_writer(self._connection)
            self._waiting = False


def _nothing() -> None:
    return None
