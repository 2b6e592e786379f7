"""Permits: calls that the gateway may let through by itself, taken from the limits beforehand.

Who was just let through may come again so many times without our being asked. Permits that were
not used go back to the limits when the decision ends, which is after `SECONDS`, or as soon as
anything changes that it rests on.
"""

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client import Counter

from dormouse_control.authorizer.accounting.account import Account
from dormouse_control.authorizer.accounting.accounts import Accounts
from dormouse_control.authorizer.accounting.leasing import Piece
from dormouse_control.authorizer.accounting.pieces import Rate
from dormouse_control.authorizer.decisions import (
    SETTLE_SECONDS,
    Answer,
    Call,
    DecisionTable,
    Slot,
)

ADMITTED = Counter(
    "dormouse_admitted_by_gateway_total", "Calls let through by decisions left with the gateway."
)

SECONDS = 5.0
ALIVE_SECONDS = 0.5
"""So long after our death the gateway goes on by our decisions: nobody could take them back."""

Key = TypeVar("Key", Account, Rate)

MOST = 512
"""At once, for one decision and worker."""


@dataclass(frozen=True)
class Grant:
    """What a decision rests on. Seconds since 1970; `until` is when the right or the token ends."""

    user: str
    credential: str
    address: str
    token: str
    until: float


@dataclass(eq=False)
class _Held:
    """`workers` says how many permits each got last; `before` is how many calls had gone through
    the slot when this decision was put there.
    """

    grant: Grant
    account: Account
    max_bytes: int | None
    slot: Slot
    ends: float
    before: int
    rates: tuple[Rate, ...] = ()
    workers: dict[int, int] = field(default_factory=dict)
    counted: int = 0


class Permits:
    def __init__(
        self,
        table: DecisionTable,
        accounts: Accounts,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._accounts = accounts
        self._clock = clock
        self._monotonic = monotonic
        self._held: dict[Call, _Held] = {}
        self._of: dict[Account, set[_Held]] = {}
        self._holding: dict[Rate, set[_Held]] = {}
        self._ending: list[tuple[float, int, Call, _Held]] = []
        self._numbers = itertools.count()
        self._ended: deque[tuple[float, _Held]] = deque()

    def give(
        self, call: Call, worker: int, grant: Grant, account: Account, max_bytes: int | None
    ) -> None:
        """Let such calls go through `worker` by `grant` from now on, as far as limits allow."""
        held = self._held_for(call, grant, account, max_bytes)
        if held is not None:
            self._allow(held, worker)

    def changed(self, account: Account) -> None:
        """Its calls have begun or ended. What they held goes to the next ones before they have to
        ask, and nobody is told of more requests than are left.
        """
        for held in self._of.get(account, ()):
            for worker, last in held.workers.items():
                if self._table.left(held.slot, worker) < last / 2:
                    self._allow(held, worker)
        for rate in (*account.requests, *account.tokens):
            for held in self._holding.get(rate, ()):
                self._tell_rest(held)

    def withdraw(self, *, named: Collection[str]) -> None:
        """End every decision that rests on one of these users, credentials or addresses."""
        wanted = set(named)
        self._end_all(
            lambda held: wanted & {held.grant.user, held.grant.credential, held.grant.address}
        )

    def recall(self, piece: Piece) -> bool:
        """Withdraw what was set aside of this limit; whether anything comes back of it."""
        found = self._end_all(lambda held: held.account.holds(piece))
        return found or any(held.account.holds(piece) for _, held in self._ended)

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
        passed = self._monotonic()
        while self._ending and self._ending[0][0] <= passed:
            _, _, call, held = heapq.heappop(self._ending)
            if self._held.get(call) is held:
                self._end(call, held)
        while self._ended and self._ended[0][0] <= passed:
            _, held = self._ended.popleft()
            self._count(held)
            held.account.permit(-self._table.settle(held.slot), self._monotonic())

    def count(self) -> None:
        """Learn how many calls went through."""
        for held in self._held.values():
            self._count(held)

    def _held_for(
        self, call: Call, grant: Grant, account: Account, max_bytes: int | None
    ) -> _Held | None:
        held = self._held.get(call)
        now = self._clock()
        if held is not None:
            if held.ends > self._monotonic() and (
                (held.account is account and held.grant == grant)
                or (_is_shorter(max_bytes, held.max_bytes) and _alike(held.grant, grant))
            ):
                return held
            self._end(call, held)
        until = min(now + SECONDS, grant.until)
        # The gateway goes by the machine's time, which somebody may set; our books do not.
        ends = self._monotonic() + until - now
        limits = self._accounts.header_around(account)
        answer = Answer(grant.token, grant.address, limits, max_bytes)
        slot = self._table.put(call, answer, until=until)
        if slot is None:
            return None
        held = _Held(grant, account, max_bytes, slot, ends, self._table.taken(slot))
        self._held[call] = held
        self._of.setdefault(account, set()).add(held)
        held.rates = (*account.requests, *account.tokens)
        for rate in held.rates:
            self._holding.setdefault(rate, set()).add(held)
        heapq.heappush(self._ending, (ends, next(self._numbers), call, held))
        return held

    def _allow(self, held: _Held, worker: int) -> None:
        share = self._accounts.share(held.account, MOST)
        held.workers[worker] = share
        if share:
            held.account.permit(share, self._monotonic())
            self._table.allow(held.slot, worker, share)
            self._tell_rest(held)

    def _tell_rest(self, held: _Held) -> None:
        """With the permits of one worker it must not be more than the limit."""
        permits = sum(self._table.left(held.slot, worker) for worker in held.workers)
        rest = self._accounts.requests_left(held.account)
        most = min((int(rate.capacity) for rate in held.account.requests), default=0)
        tokens = self._accounts.tokens_left(held.account)
        self._table.tell_rest(held.slot, max(0, min(rest, most - permits)), tokens)

    def _count(self, held: _Held) -> None:
        taken = self._table.taken(held.slot) - held.before
        if taken != held.counted:
            held.account.count(taken - held.counted, self._monotonic())
            ADMITTED.inc(taken - held.counted)
            held.counted = taken

    def _end_all(self, doomed: Callable[[_Held], object]) -> bool:
        """False if there was none."""
        found = [each for each in self._held.items() if doomed(each[1])]
        for call, held in found:
            self._end(call, held)
        return bool(found)

    def _end(self, call: Call, held: _Held) -> None:
        del self._held[call]
        _discard(self._of, held.account, held)
        for rate in held.rates:
            _discard(self._holding, rate, held)
        self._table.withdraw(held.slot)
        self._ended.append((self._monotonic() + SETTLE_SECONDS, held))


def _discard(index: dict[Key, set[_Held]], key: Key, held: _Held) -> None:
    index[key].discard(held)
    if not index[key]:
        del index[key]


def _is_shorter(body: int | None, other: int | None) -> bool:
    return body is not None and other is not None and body < other


def _alike(one: Grant, other: Grant) -> bool:
    """But for the token: that for longer bodies is another account's, and as good."""
    return (one.user, one.credential, one.address) == (other.user, other.credential, other.address)
