"""Tells the nest how many calls we have: soon, not too often, and never an old number for good."""

import asyncio
from collections.abc import Callable

from dormouse_predictors.control import Control

EVERY_SECONDS = 0.1


class Loads:
    """`waiting` says how many of the calls in flight are not worked on yet. Event loop only."""

    def __init__(self, control: Control, waiting: Callable[[], int]) -> None:
        self._control = control
        self._waiting = waiting
        self._loop = asyncio.get_running_loop()
        self._in_flight = 0
        self._told = (0, 0)
        self._next: asyncio.TimerHandle | None = None

    def note(self, in_flight: int) -> None:
        """Every turn between idle and busy is told at once; of other changes what has come of them
        a moment after the last report."""
        turned = (in_flight == 0) != (self._in_flight == 0)
        self._in_flight = in_flight
        if turned or self._next is None:
            self._tell()

    def _tell(self) -> None:
        now = self._in_flight, self._waiting()
        if now != self._told:
            self._told = now
            self._control.send("load", in_flight=now[0], waiting=now[1])
        if self._next is None:
            self._next = self._loop.call_later(EVERY_SECONDS, self._look)

    def _look(self) -> None:
        self._next = None
        # Calls begin to be worked on without anything that would be noted here.
        if self._waiting() or self._told != (self._in_flight, 0):
            self._tell()
