"""The calls that wait for a predictor of one service, and what they are told."""

import asyncio
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import count

from dormouse.queue import Entry, Queue, QueueFull
from dormouse_control.nest.predictor import Predictor
from dormouse_control.nest.setbacks import ATTEMPTS, Block

UNKNOWN_SECONDS = 2.0
"""What somebody is asked to wait where nobody knows how long it takes."""


class Refused(Exception):
    """No predictor for this call; `code` and `message` go to the caller. `retry_after` in whole
    seconds; None: there is no use in trying again."""

    def __init__(self, code: str, message: str, retry_after: int | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after


@dataclass(frozen=True)
class Asked:
    """A call that wants a predictor. `early`: it would rather wait there for the model, where it is
    told how far that has come.
    """

    request_id: str
    user: str
    model: str
    priority: int
    early: bool = False


@dataclass(frozen=True)
class Place:
    """Of a waiting call: how many go before it, and when it may get a predictor, if known."""

    ahead: int
    expected_wait_ms: int | None


@dataclass
class Waiter:
    """`failures` of wakes that the call waited for."""

    future: asyncio.Future[Predictor]
    early: bool
    failures: int = 0


class WaitingCalls:
    """Of one service. Times in seconds."""

    def __init__(self, service: str, bound: int, *, ageing_seconds: float) -> None:
        self._service = service
        self._bound = bound
        self._queue: Queue[Waiter] = Queue(bound, ageing_seconds=ageing_seconds)
        self._numbers = count()

    def replan(self, bound: int, *, ageing_seconds: float) -> None:
        """From now on."""
        self._bound = bound
        self._queue.replan(bound, ageing_seconds=ageing_seconds)

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, asked: Asked, *, arrived: float, expected_wait: float | None) -> Entry[Waiter]:
        """Raises `Refused` if there is no room; a call of somebody who has more may give way."""
        waiter = Waiter(asyncio.get_running_loop().create_future(), asked.early)
        entry = Entry(asked.request_id, asked.user, asked.model, asked.priority, arrived, waiter)
        try:
            gone = self._queue.add(entry)
        except QueueFull:
            raise self._full(expected_wait) from None
        except ValueError:  # it waits already: a check repeated before its first was cancelled
            again = replace(asked, request_id=f"{asked.request_id}/{next(self._numbers)}")
            return self.add(again, arrived=arrived, expected_wait=expected_wait)
        if gone is not None:
            _refuse(gone, self._full(expected_wait))
        return entry

    def remove(self, entry: Entry[Waiter]) -> None:
        """Somebody hung up; not being there any more is fine."""
        self._queue.remove(entry.request_id)

    def first_model(self, loaded: Collection[str]) -> str | None:
        """Of the call that is to be served next."""
        return self._queue.first(loaded, time.monotonic()).model if self._queue else None

    def ahead_of(self, request_id: str, loaded: Collection[str]) -> int:
        """Raises KeyError if it does not wait."""
        return self._queue.ahead_of(request_id, loaded, time.monotonic())

    def oldest_seconds(self) -> float | None:
        first = next(iter(self._queue), None)
        return None if first is None else time.monotonic() - first.arrived

    def hand_out(self, choose: Callable[[str], Predictor | None], loaded: Collection[str]) -> None:
        """Answer all, in their order, each with the predictor that is chosen for its model."""
        for entry in self._queue.order(loaded, time.monotonic()):
            predictor = choose(entry.model)
            if predictor is None:
                return
            self._give(entry, predictor)

    def hand_early(self, predictor: Predictor) -> None:
        """To those that want to wait there."""
        for entry in self._queue:
            if entry.waiter.early:
                predictor.hand(time.monotonic())
                self._give(entry, predictor)

    def _give(self, entry: Entry[Waiter], predictor: Predictor) -> None:
        self._queue.remove(entry.request_id)
        if not entry.waiter.future.done():
            entry.waiter.future.set_result(predictor)

    def failed(self, model: str | None, reason: str) -> None:
        """A wake with this model, or with any, came to nothing. Nobody waits for more than three,
        for then it may be that very call on which something breaks.
        """
        for entry in self._queue:
            if model is not None and entry.model != model:
                continue
            entry.waiter.failures += 1
            if entry.waiter.failures >= ATTEMPTS:
                text = (
                    f"The call {entry.request_id} has waited while {self._service} could not be"
                    f" woken {ATTEMPTS} times: {reason}"
                )
                self._end(entry, Refused("waking_failed", text, math.ceil(UNKNOWN_SECONDS)))

    def refuse(self, refused: Callable[[str], Refused | None]) -> None:
        """Those for whose model `refused` has an answer."""
        for entry in self._queue:
            refusal = refused(entry.model)
            if refusal is not None:
                self._end(entry, refusal)

    def _end(self, entry: Entry[Waiter], refusal: Refused) -> None:
        self._queue.remove(entry.request_id)
        _refuse(entry, refusal)

    def _full(self, expected_wait: float | None) -> Refused:
        seconds = UNKNOWN_SECONDS if expected_wait is None else expected_wait
        text = f"{self._bound} calls already wait for {self._service}."
        return Refused("queue_full", text, max(1, math.ceil(seconds)))


def held_too_long(service: str, held: float, expected_wait: float | None) -> Refused:
    """Its service goes on waking without it. Times in seconds."""
    left = expected_wait or UNKNOWN_SECONDS
    text = f"{service} has not woken within {held:g} seconds; it goes on waking."
    return Refused("still_waking", text, math.ceil(left))


def refusal_of(block: Block, now: float) -> Refused:
    return Refused(block.code, block.message, max(1, math.ceil(block.until - now)))


def _refuse(entry: Entry[Waiter], refusal: Refused) -> None:
    if not entry.waiter.future.done():
        entry.waiter.future.set_exception(refusal)
