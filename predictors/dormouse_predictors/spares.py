"""A child of the zygote that waits for its turn: it has rehearsed before somebody calls.

One at a time, and none while a predictor that was just forked may still need the processors. Where
there is none yet, or it died, predictors are forked when they are wanted, as without.
"""

import contextlib
import os
import select
import socket
import time
import traceback
from collections.abc import Callable, Sequence

QUIET_SECONDS = 1.0
"""After the last fork, until the next spare begins."""

_LONGEST_LINE = 1 << 16
_DESCRIPTORS = 8
_REHEARSED = b"1"

Predict = Callable[[bytes, list[int]], None]
"""Becomes the predictor of a line and its descriptors. Never returns."""


class Spares:
    """`child` runs in a spare before it waits, with the descriptor that it must keep; `predict`
    once it has been handed a line. Neither may return into the zygote's code."""

    def __init__(self, child: Callable[[int], None], predict: Predict) -> None:
        self._child = child
        self._predict = predict
        self._connection: socket.socket | None = None
        self._rehearsed = False
        self._next = time.monotonic()

    def wait_for(self, nest: socket.socket) -> None:
        """Return when `nest` has something to say; begin a spare meanwhile if it is time to."""
        while True:
            seconds = None
            if self._connection is None:
                seconds = max(0.0, self._next - time.monotonic())
            if select.select([nest], [], [], seconds)[0]:
                return
            self._begin(nest)

    def hand(self, line: bytes, descriptors: Sequence[int]) -> bool:
        """Whether the spare takes it. If not, it is left to the caller."""
        self._next = time.monotonic() + QUIET_SECONDS
        connection = self._connection
        if connection is None or not self._has_rehearsed(connection):
            return False
        self._connection, self._rehearsed = None, False
        with connection:
            try:
                socket.send_fds(connection, [line + b"\n"], list(descriptors))
            except OSError:
                return False  # it died
        return True

    def _has_rehearsed(self, connection: socket.socket) -> bool:
        if not self._rehearsed:
            try:
                said = connection.recv(1, socket.MSG_DONTWAIT)
            except OSError:
                return False  # not yet
            if not said:
                connection.close()
                self._connection = None
            self._rehearsed = bool(said)
        return self._rehearsed

    def _begin(self, nest: socket.socket) -> None:
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            nest.detach()
            ours.detach()
            self._wait(theirs)
        theirs.close()
        self._connection, self._rehearsed = ours, False

    def _wait(self, zygote: socket.socket) -> None:
        """The spare's life until it is wanted, or its zygote has gone."""
        try:
            self._child(zygote.fileno())
            zygote.sendall(_REHEARSED)
            line, descriptors = b"", list[int]()
            while not line.endswith(b"\n"):
                try:
                    data, received, _, _ = socket.recv_fds(zygote, _LONGEST_LINE, _DESCRIPTORS)
                except ConnectionError:  # it has gone without having read what we said
                    data = b""
                if not data:
                    os._exit(0)
                line, descriptors = line + data, descriptors + received
            zygote.close()
        except BaseException:
            with contextlib.suppress(OSError):
                traceback.print_exc()
            os._exit(1)
        self._predict(line, descriptors)
        os._exit(1)
