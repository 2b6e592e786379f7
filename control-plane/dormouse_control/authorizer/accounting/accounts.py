"""Lets calls through as far as limits and budgets go, and keeps the books of what runs."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from dormouse.meters import Meters
from dormouse_control.authorizer.accounting.account import Account
from dormouse_control.authorizer.accounting.leasing import Leasing, Piece
from dormouse_control.authorizer.accounting.pieces import (
    IDLE_SECONDS,
    RENEW_SECONDS,
    SLOTS_SECONDS,
    Money,
    Rate,
    RateKind,
    Slots,
)
from dormouse_control.authorizer.accounting.shortage import (
    Shortage,
    is_exhausted,
    is_final,
    limits_header,
    refusal,
    shortages,
)
from dormouse_control.authorizer.principals import Limit, Principal
from dormouse_control.authorizer.refusals import Refusal

FORGET_SECONDS = 900.0
"""Longer than any call."""

TRIES = 8
MOMENT_SECONDS = 0.01
"""Answers may reach callers a little before the meters reach us."""

AGAIN_SECONDS = 0.2
PATIENCE_SECONDS = TRIES * AGAIN_SECONDS
"""Whoever waited so long for its turn is told to come back, or a queue would hold the last of a
crowd for as often as long."""

BESIDE_OTHERS_SECONDS = 0.4
"""So often pieces are mentioned of which others may want what we do not need."""


@dataclass(frozen=True)
class Purpose:
    """What calls an account is for."""

    service: str
    model: str
    reserve: int


class Accounts:
    """`recall` takes permits back from the gateway that hold a piece, and says whether there were
    any; `settle` books them once `settle_seconds` have gone by. `changed` hears of every account
    whose calls began or ended."""

    def __init__(
        self,
        leasing: Leasing,
        *,
        settle_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leasing = leasing
        self.recall: Callable[[Piece], bool] = lambda _: False
        self.settle: Callable[[], None] = lambda: None
        self.changed: Callable[[Account], None] = lambda _: None
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._numbers = int(time.time() * 1000) << 16  # no two processes ever use the same
        self._accounts: dict[tuple[str, Purpose, bool], Account] = {}
        self._by_number: dict[int, Account] = {}
        self._made_for: dict[int, Principal] = {}
        self._rates: dict[tuple[str, RateKind], Rate] = {}
        self._slots: dict[str, Slots] = {}
        self._money: dict[str, Money] = {}
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    @property
    def alone(self) -> bool:
        return self._leasing.alone

    def of(self, principal: Principal, purpose: Purpose) -> Account:
        """The account, with the limits that the principal has now."""
        # Calls that nobody set money aside for are none that a budget is charged for later.
        key = (principal.credential, purpose, principal.budgeted)
        account = self._accounts.get(key)
        if account is None:
            self._numbers += 1
            account = Account(self._numbers, principal.credential, reserve=purpose.reserve)
            self._accounts[key] = self._by_number[account.number] = account
        if self._made_for.get(account.number) is not principal:
            self._give_limits(account, principal, purpose)
        account.seen = self._clock()
        return account

    async def admit(self, account: Account, *, asking: Callable[[], None] = lambda: None) -> None:
        """One more call, which then `went` or is given up. Raises `Refusal` (402, 429, 503).

        `asking` is called when the call has to wait until the control plane was asked for more, and
        nothing says that it will be refused.
        """
        money = account.money if account.reserve else None
        until = self._clock() + PATIENCE_SECONDS
        if money is None or not (money.others or money.user in self._turns):
            await self._pass(account, until, asking)
        else:
            # Near its end a budget is for one call after the other, as they came.
            async with self._turn(money.user):
                await self._pass(account, until, asking)
        account.begin(self._clock())
        self._ahead(account)
        self.changed(account)

    async def _pass(self, account: Account, until: float, asking: Callable[[], None]) -> None:
        """Returns when there is enough of everything. Raises `Refusal`."""
        asked: set[Piece] = set()
        for attempt in range(TRIES):
            missing = await self._missing(account, partial=attempt > 0)
            if not missing:
                return
            now = self._clock()
            hopeless = [
                each
                for each in missing
                if is_final(each, now=now)
                or (each.piece in asked and is_exhausted(each.piece, moments=attempt))
            ]
            if hopeless or attempt == TRIES - 1 or now >= until:
                account.refused = True
                raise self._refusal(account, hopeless or missing)
            await asyncio.sleep(_pause(missing) if attempt else 0)
            likely = not any(is_exhausted(each.piece, moments=TRIES) for each in missing)
            if not asked and not account.refused and likely:
                asking()
            asked |= {each.piece for each in missing}
            await self._leasing.refill([(each.piece, each.need) for each in missing])

    @asynccontextmanager
    async def _turn(self, user: str) -> AsyncIterator[None]:
        lock, count = self._turns.get(user, (asyncio.Lock(), 0))
        self._turns[user] = (lock, count + 1)
        try:
            async with lock:
                yield
        finally:
            lock, count = self._turns[user]
            self._turns[user] = (lock, count - 1)
            if count == 1:
                del self._turns[user]

    def header(self, account: Account) -> str:
        """The value of x-dormouse-limits (`limits_header`)."""
        return limits_header(account, alone=self.alone, now=self._clock())

    def header_around(self, account: Account) -> tuple[str, str, str]:
        """What stands before, between and after the requests and tokens that are left."""
        limit, _, reset, token_limit, _, token_reset = self.header(account).split(",")
        return f"{limit},", f",{reset},{token_limit},", f",{token_reset}"

    def tokens_left(self, account: Account) -> int | None:
        """Of the tightest limit, without what running calls may use; None: there is none."""
        now = self._clock()
        left = [rate.remaining(alone=self.alone, now=now) for rate in account.tokens]
        return int(min(left)) if left else None

    def requests_left(self, account: Account) -> int:
        """Of the tightest limit, beside the permits that were given."""
        now = self._clock()
        left = [rate.remaining(alone=self.alone, now=now) for rate in account.requests]
        return int(min(left, default=0))

    def share(self, account: Account, most: int) -> int:
        """How many permits may be left with the gateway: a part of what every limit has left."""
        account.rebook(self._clock())
        share = min([most, *(int(rate.free / 4) for rate in account.requests)])
        for rate in account.tokens:
            share = min(share, int(rate.free / 4 / account.tokens_of_a_call(rate)))
        for slots in account.slots:
            share = min(share, slots.free // 4)
        if account.reserve and account.money is not None:
            share = min(share, account.money.free // (4 * account.reserve))
        self._ahead(account)
        return max(0, share)

    def hear(self, predictor: bytes, meters: Iterable[Meters]) -> None:
        """What a predictor says of our calls."""
        now = self._clock()
        for each in meters:
            account = self._by_number.get(each.account)
            if account is not None:  # else of a process before us
                account.hear(predictor, each, now)
                account.rebook(now)
                if account.money is not None:
                    self._share(account.money)
                self.changed(account)

    def sweep(self) -> None:
        """To be called about twice a second: lost calls, pieces that end, accounts not used."""
        now = self._clock()
        for key, account in list(self._accounts.items()):
            if account.claims(now) or now - account.seen < IDLE_SECONDS:
                account.rebook(now)
            elif now - account.seen > FORGET_SECONDS:
                account.release(now)
                del self._accounts[key], self._by_number[account.number]
                self._made_for.pop(account.number, None)
        self._renew(now)

    def _give_limits(self, account: Account, principal: Principal, purpose: Purpose) -> None:
        now = self._clock()
        account.release(now)
        limits = [each for each in principal.limits if each.service in (None, purpose.service)]
        account.requests = self._rates_of(limits, "requests")
        account.tokens = self._rates_of(limits, "tokens")
        account.slots = [
            self._slots_of(each.subject, each.concurrent)
            for each in limits
            if each.concurrent is not None
        ]
        account.money = self._money_of(principal) if principal.budgeted else None
        account.rebook(now)
        self._made_for[account.number] = principal

    def _rates_of(self, limits: Sequence[Limit], kind: RateKind) -> list[Rate]:
        found = []
        for limit in limits:
            per_minute = (
                limit.requests_per_minute if kind == "requests" else limit.tokens_per_minute
            )
            if per_minute is None:
                continue
            rate = self._rates.get((limit.subject, kind))
            if rate is None:
                rate = self._rates[limit.subject, kind] = Rate(limit.subject, kind, per_minute)
            rate.capacity = float(per_minute)
            rate.balance = min(rate.balance, rate.capacity)
            found.append(rate)
        return found

    def _slots_of(self, subject: str, limit: int) -> Slots:
        slots = self._slots.setdefault(subject, Slots(subject, limit))
        slots.limit = limit
        return slots

    def _money_of(self, principal: Principal) -> Money:
        return self._money.setdefault(
            principal.credential, Money(principal.credential, principal.user)
        )

    async def _missing(self, account: Account, *, partial: bool) -> Sequence[Shortage]:
        account.rebook(self._clock())
        missing = shortages(account, partial=partial)
        recalled = [self.recall(each.piece) for each in missing]
        if not any(recalled):
            return missing
        # What the gateway did not use of its permits is there again in a moment.
        await asyncio.sleep(self._settle_seconds)
        self.settle()
        account.rebook(self._clock())
        return shortages(account, partial=partial)

    def _refusal(self, account: Account, missing: Sequence[Shortage]) -> Refusal:
        """Of several reasons the one that lasts longest."""
        now = self._clock()
        for each in missing:
            if isinstance(each.piece, Money):
                self._share(each.piece)
            elif isinstance(each.piece, Rate):
                self._leasing.note(each.piece)  # its bucket refills when it knows of what was used
        found = [refusal(each, down=self._leasing.down, now=now) for each in missing]
        longest = max(found, key=lambda each: (each.status == 402, each.retry_after or 0))
        return replace(longest, limits=self.header(account))

    def _share(self, money: Money) -> None:
        """What nobody uses of a budget that others wait for goes back at once."""
        wanted = money.others or money.user in self._turns
        if wanted and not money.reserved and money.balance > 0:
            money.used_at = -FORGET_SECONDS
            self._leasing.note(money)

    def _ahead(self, account: Account) -> None:
        """Ask for more before a call has to wait for it."""
        for rate in (*account.requests, *account.tokens):
            if rate.short(alone=self.alone) and rate.level > 0:
                self._leasing.note(rate)
        for slots in account.slots:
            if slots.short():
                self._leasing.note(slots, 1)

    def _renew(self, now: float) -> None:
        renew = RENEW_SECONDS if self.alone else BESIDE_OTHERS_SECONDS
        for key, rate in list(self._rates.items()):
            behind = rate.is_behind(now) and now - rate.asked_at >= 1
            if now - rate.asked_at < renew and not behind:
                continue
            if rate.balance or rate.reserved:
                self._leasing.note(rate)
            elif now - rate.used_at > 2 * FORGET_SECONDS:  # no account has it any more
                del self._rates[key]
        for subject, slots in list(self._slots.items()):
            if slots.held and now - slots.asked_at >= min(renew, SLOTS_SECONDS):
                self._leasing.note(slots)
            elif not (slots.held or slots.used) and now - slots.used_at > 2 * FORGET_SECONDS:
                del self._slots[subject]
        for credential, money in list(self._money.items()):
            money.retire(now)
            often = BESIDE_OTHERS_SECONDS if money.others or not self.alone else RENEW_SECONDS
            if money.sent is not None or (money.lease and now - money.asked_at >= often):
                self._leasing.note(money)
            elif not money.reserved and now - money.used_at > 2 * FORGET_SECONDS:
                del self._money[credential]


def _pause(missing: Sequence[Shortage]) -> float:
    """Whoever has something may give it back; and the end of a call may not be heard of yet."""
    return AGAIN_SECONDS if any(each.piece.others for each in missing) else MOMENT_SECONDS
