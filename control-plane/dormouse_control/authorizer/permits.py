"""Permits: calls that the gateway may let through by itself, taken from the limits beforehand.

Who was just let through may come again so many times without our being asked. Permits that were
not used go back to the limits when the decision ends, which is after `SECONDS`, or as soon as
anything changes that it rests on.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from prometheus_client import Counter

from dormouse_control.authorizer.decisions import SETTLE_SECONDS, Call, DecisionTable, Slot
from dormouse_control.authorizer.limits import RequestLimit, RequestLimits

ADMITTED = Counter(
    "dormouse_admitted_by_gateway_total", "Calls let through by decisions left with the gateway."
)

SECONDS = 5.0
ALIVE_SECONDS = 0.5
"""So long after our death the gateway goes on by our decisions: nobody could take them back."""

MOST = 64
"""At once, for one decision and worker."""


@dataclass(frozen=True)
class Grant:
    """What a decision rests on. Seconds since 1970; `until` is when the right or the token ends."""

    user: str
    credential: str
    address: str
    token: str
    until: float
    limits: Sequence[RequestLimit]


@dataclass
class _Held:
    grant: Grant
    slot: Slot
    ends: float
    permits: int = 0


class Permits:
    def __init__(
        self,
        table: DecisionTable,
        limits: RequestLimits,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._held: dict[Call, _Held] = {}
        self._ended: deque[tuple[float, _Held]] = deque()

    def give(self, call: Call, worker: int, grant: Grant) -> None:
        """Let such calls go through `worker` by `grant` from now on, as far as limits allow."""
        share = self._limits.set_aside(grant.limits, MOST, now=self._monotonic())
        if not share:
            return
        held = self._held_for(call, grant)
        if held is None:
            self._limits.give_back(grant.limits, share, now=self._monotonic())
            return
        held.permits += share
        self._table.allow(held.slot, worker, share)

    def withdraw(self, *, named: Collection[str]) -> None:
        """End every decision that rests on one of these users, credentials or addresses."""
        wanted = set(named)
        self._end_all(lambda grant: wanted & {grant.user, grant.credential, grant.address})

    def recall(self, whose: str) -> bool:
        """Withdraw what was set aside of this limit; False if nothing was."""
        return self._end_all(lambda grant: any(limit.whose == whose for limit in grant.limits))

    def predictor_left(self, address: str | None) -> None:
        """None: nobody knows which predictors are still there."""
        if address is None:
            self.withdraw_all()
        else:
            self.withdraw(named=[address])

    def withdraw_all(self) -> None:
        self._end_all(lambda _: True)

    def sweep(self) -> None:
        """To be called several times a second: ends what is over, gives back what was not used."""
        now = self._clock()
        self._table.live(now + ALIVE_SECONDS)
        for call, held in list(self._held.items()):
            if held.ends <= now:
                self._end(call, held)
        while self._ended and self._ended[0][0] <= now:
            _, held = self._ended.popleft()
            unused = self._table.settle(held.slot)
            ADMITTED.inc(held.permits - unused)
            self._limits.give_back(held.grant.limits, unused, now=self._monotonic())

    def _held_for(self, call: Call, grant: Grant) -> _Held | None:
        held = self._held.get(call)
        now = self._clock()
        if held is not None:
            if held.grant == grant and held.ends > now:
                return held
            self._end(call, held)
        ends = min(now + SECONDS, grant.until)
        slot = self._table.put(call, token=grant.token, address=grant.address, until=ends)
        if slot is None:
            return None
        self._held[call] = _Held(grant, slot, ends)
        return self._held[call]

    def _end_all(self, doomed: Callable[[Grant], object]) -> bool:
        """False if there was none."""
        found = [each for each in self._held.items() if doomed(each[1].grant)]
        for call, held in found:
            self._end(call, held)
        return bool(found)

    def _end(self, call: Call, held: _Held) -> None:
        del self._held[call]
        self._table.withdraw(held.slot)
        self._ended.append((self._clock() + SETTLE_SECONDS, held))
