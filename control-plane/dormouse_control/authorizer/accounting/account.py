"""One account: the calls of one credential to one model, and what they hold of its limits. Pure.

What runs is derived, never counted up and down: calls that we let through, less those that
predictors say have ended, less those that never arrived anywhere. So a lost datagram, a predictor
that dies, or a caller who hangs up on the way is made up for by itself.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dormouse.meters import Meters
from dormouse_control.authorizer.accounting.pieces import Money, Rate, Slots

ARRIVAL_SECONDS = 3.0
"""A call that no predictor has begun after so long went astray."""

SILENCE_SECONDS = 20.0
"""A predictor that runs calls says so twice a second, and the nest ends one that hangs before this.
After so long without a word it is gone, and its calls are taken for as dear as they can be.
"""

FORGOTTEN_SECONDS = 3600.0
"""Longer than predictors remember accounts that nobody uses: what one says then begins anew."""

FIRST_TOKENS = 256.0
"""A call is taken for so many tokens until the first of its kind has ended."""

_SMOOTHING = 0.2
_NOTHING = Meters(0, 0, 0, 0, 0, 0)


@dataclass
class _Heard:
    meters: Meters
    at: float


@dataclass(eq=False)
class Account:
    """`reserve` is the most, in billionths, that one call can cost; 0: money does not matter.

    `asked` are calls that we let through or that wait for a predictor, `sent` those that left.
    `given` counts permits left with the gateway, less those that came back unused; `by_gateway`
    those that it has used. `seen` is the last use in seconds of the monotonic clock. `refused`: the
    last call was.
    """

    number: int
    credential: str
    requests: Sequence[Rate] = ()
    tokens: Sequence[Rate] = ()
    slots: Sequence[Slots] = ()
    money: Money | None = None
    reserve: int = 0
    expected: float = FIRST_TOKENS
    asked: int = 0
    sent: int = 0
    given: int = 0
    by_gateway: int = 0
    seen: float = 0.0
    refused: bool = False
    _predictors: dict[bytes, _Heard] = field(default_factory=dict)
    _base: Meters = field(default_factory=lambda: _NOTHING)
    _history: deque[tuple[float, int]] = field(default_factory=deque)
    _arrived_before: int = 0
    _settled_tokens: int = 0
    _settled_cost: int = 0
    _settled_ends: int = 0
    _held_slots: int = 0
    _held_tokens: list[float] = field(default_factory=list)
    _held_money: int = 0

    def hear(self, predictor: bytes, meters: Meters, now: float) -> None:
        """To be followed by `rebook`."""
        known = self._predictors.get(predictor)
        if known is None:
            self._forget_silent(now)
        elif _began_anew(known.meters, meters):
            self._base = _sum(self._base, self._over(known.meters))
        self._predictors[predictor] = _Heard(meters, now)

    def begin(self, now: float) -> None:
        """One more call, let through by ourselves; `went` when it leaves, or `give_up`."""
        self.asked += 1
        self.refused = False
        for rate in self.requests:
            rate.use(1, now)
        self.rebook(now)

    def went(self, now: float) -> None:
        self.sent += 1
        self._note(now)

    def give_up(self, now: float) -> None:
        """A call that began goes nowhere; it counts as a request all the same."""
        self.asked -= 1
        self.rebook(now)

    def permit(self, calls: int, now: float) -> None:
        """So many more may go through the gateway; negative: so many came back unused."""
        self.given += calls
        for rate in self.requests:
            rate.use(calls, now)
        self.rebook(now)

    def count(self, calls: int, now: float) -> None:
        """The gateway has let so many more through."""
        self.by_gateway += calls
        self._note(now)

    def holds(self, piece: Rate | Slots | Money) -> bool:
        return piece is self.money or any(
            piece is each for each in (*self.requests, *self.tokens, *self.slots)
        )

    def tokens_of_a_call(self, rate: Rate) -> float:
        """What a call is taken for: what they used lately, but of a small limit a small part."""
        return min(self.expected, max(1.0, rate.capacity / 10))

    def claims(self, now: float) -> int:
        """Calls that run or may begin."""
        return max(0, self.asked + self.given - self._lost(now) - self._totals(now).ended)

    def rebook(self, now: float) -> None:
        """Bring what we hold of every limit to what has been heard."""
        totals = self._totals(now)
        self._settle(totals, now)
        claims = max(0, self.asked + self.given - self._lost(now) - totals.ended)
        for slots in self.slots:
            slots.used += claims - self._held_slots
            slots.used_at = now
        held_tokens = [claims * self.tokens_of_a_call(rate) for rate in self.tokens]
        for at, rate in enumerate(self.tokens):
            rate.reserved += held_tokens[at] - (self._held_tokens[at] if self._held_tokens else 0)
        held_money = claims * self.reserve
        if self.money is not None:
            self.money.reserved += held_money - self._held_money
            if claims:
                self.money.used_at = now
        self._held_slots, self._held_tokens, self._held_money = claims, held_tokens, held_money
        self.seen = max(self.seen, now) if claims else self.seen

    def release(self, now: float) -> None:
        """Take our hands off all limits, before they are exchanged for others."""
        self.rebook(now)
        for slots in self.slots:
            slots.used -= self._held_slots
        for rate, held in zip(self.tokens, self._held_tokens, strict=bool(self._held_tokens)):
            rate.reserved -= held
        if self.money is not None:
            self.money.reserved -= self._held_money
        self._held_slots, self._held_tokens, self._held_money = 0, [], 0

    def _settle(self, totals: Meters, now: float) -> None:
        used = totals.prompt_tokens + totals.completion_tokens
        tokens, cost = used - self._settled_tokens, totals.cost_nano - self._settled_cost
        ends = totals.ended - self._settled_ends
        self._settled_tokens, self._settled_cost, self._settled_ends = (
            used,
            totals.cost_nano,
            totals.ended,
        )
        if tokens:
            for rate in self.tokens:
                rate.use(tokens, now)
        if cost and self.money is not None:
            self.money.use(cost, now)
        if ends > 0:
            share = 1 - (1 - _SMOOTHING) ** ends
            self.expected += share * (max(1.0, tokens / ends) - self.expected)

    def _totals(self, now: float) -> Meters:
        found = self._base
        if len(self._predictors) == 1 and not found.began:  # nearly always, and often
            (heard,) = self._predictors.values()
            return self._over(heard.meters) if now - heard.at > SILENCE_SECONDS else heard.meters
        for heard in self._predictors.values():
            silent = now - heard.at > SILENCE_SECONDS
            found = _sum(found, self._over(heard.meters) if silent else heard.meters)
        return found

    def _over(self, meters: Meters) -> Meters:
        """All its calls have ended; what those cost that it did not tell of, nobody knows yet."""
        lost = meters.began - meters.ended
        return replace(meters, ended=meters.began, cost_nano=meters.cost_nano + lost * self.reserve)

    def _forget_silent(self, now: float) -> None:
        for predictor, heard in list(self._predictors.items()):
            if now - heard.at > FORGOTTEN_SECONDS:
                self._base = _sum(self._base, self._over(heard.meters))
                del self._predictors[predictor]

    def _note(self, now: float) -> None:
        self._history.append((now, self.sent + self.by_gateway))

    def _lost(self, now: float) -> int:
        """Calls that should have arrived by now and have not."""
        while self._history and now - self._history[0][0] >= ARRIVAL_SECONDS:
            self._arrived_before = self._history.popleft()[1]
        return max(0, self._arrived_before - self._totals(now).began)


def _began_anew(before: Meters, after: Meters) -> bool:
    """Whether its predictor had forgotten the account meanwhile: no number ever falls."""
    return (
        after.began < before.began
        or after.ended < before.ended
        or after.prompt_tokens < before.prompt_tokens
        or after.completion_tokens < before.completion_tokens
        or after.cost_nano < before.cost_nano
    )


def _sum(one: Meters, other: Meters) -> Meters:
    return Meters(
        other.account,
        one.began + other.began,
        one.ended + other.ended,
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.cost_nano + other.cost_nano,
    )
