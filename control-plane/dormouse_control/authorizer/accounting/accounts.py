"""Lets calls through as far as limits and budgets go, and keeps the books of what runs."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
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
    is_final,
    limits_header,
    refusal,
    shortages,
)
from dormouse_control.authorizer.principals import Limit, Principal
from dormouse_control.authorizer.refusals import Refusal

FORGET_SECONDS = 900.0
"""Longer than any call."""

TRIES = 4
AGAIN_SECONDS = 0.4
"""Other authorizers give back what they do not need twice a second."""


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

    async def admit(self, account: Account) -> None:
        """One more call, which then `went` or is given up. Raises `Refusal` (402, 429, 503)."""
        missing: Sequence[Shortage] = ()
        for attempt in range(TRIES):
            missing = await self._missing(account, partial=attempt > 0)
            if not missing:
                break
            now = self._clock()
            last = attempt and not all(each.piece.others for each in missing)
            if last or any(is_final(each, now=now) for each in missing):
                raise self._refusal(account, missing)
            if attempt:
                await asyncio.sleep(AGAIN_SECONDS)
            await self._leasing.refill([(each.piece, each.need) for each in missing])
        else:
            raise self._refusal(account, missing)
        account.begin(self._clock())
        self._ahead(account)
        self.changed(account)

    def header(self, account: Account) -> str:
        """The value of x-dormouse-limits (`limits_header`)."""
        return limits_header(account, alone=self.alone, now=self._clock())

    def header_around(self, account: Account) -> tuple[str, str]:
        """What stands before and after the number of requests that are left."""
        limit, _, rest = self.header(account).split(",", 2)
        return f"{limit},", f",{rest}"

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
            share = min(share, int(rate.free / 4 / account.expected))
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
            if isinstance(each.piece, Money) and each.piece.others and not each.piece.reserved:
                # Too little for us; together with what others give back it lets somebody through.
                each.piece.used_at = -FORGET_SECONDS
                self._leasing.note(each.piece)
        found = [refusal(each, down=self._leasing.down, now=now) for each in missing]
        longest = max(found, key=lambda each: (each.status == 402, each.retry_after or 0))
        return replace(longest, limits=self.header(account))

    def _ahead(self, account: Account) -> None:
        """Ask for more before a call has to wait for it."""
        for rate in (*account.requests, *account.tokens):
            if rate.short(alone=self.alone) and rate.level > 0:
                self._leasing.note(rate)
        for slots in account.slots:
            if slots.short():
                self._leasing.note(slots, 1)

    def _renew(self, now: float) -> None:
        renew = RENEW_SECONDS if self.alone else AGAIN_SECONDS
        for key, rate in list(self._rates.items()):
            if now - rate.asked_at < renew:
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
            if money.sent is not None or (money.lease and now - money.asked_at >= RENEW_SECONDS):
                self._leasing.note(money)
            elif not money.reserved and now - money.used_at > 2 * FORGET_SECONDS:
                del self._money[credential]
