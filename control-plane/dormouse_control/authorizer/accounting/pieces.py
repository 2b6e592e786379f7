"""What this authorizer holds of limits that all authorizers share. Pure; time is handed in.

The control plane keeps the whole of every limit and hands out pieces (`POST /internal/v1/leases`).
A piece is used from memory; what is asked for and given back goes in batches (`leasing.py`). Times
are seconds of a monotonic clock.
"""

from dataclasses import dataclass
from typing import Any, Literal  # requests and replies are JSON

RateKind = Literal["requests", "tokens"]
IDLE_SECONDS = 8.0
"""A piece that nobody used for so long is given back whole."""

RENEW_SECONDS = 10.0
SLOTS_SECONDS = 4.0
"""A piece is mentioned at least so often while it is held, long before its lender forgets us."""

_SMOOTHING = 0.5


@dataclass(eq=False)
class Rate:
    """Of requests or tokens a minute: a bucket of `capacity` that refills in a minute.

    `balance` is ours: what we got, less what calls are known to have used. If they used more, the
    next grant makes up for it from the bucket. `reserved` of it is for calls whose use is not known
    yet. When we last heard of the bucket, `level` was left in it, `booked` is what it thought that
    we have, and `others` what other authorizers had.
    """

    subject: str
    kind: RateKind
    capacity: float
    balance: float = 0.0
    reserved: float = 0.0
    level: float = 0.0
    others: float = 0.0
    booked: float = 0.0
    asked_at: float = -1e9
    heard_at: float = -1e9
    used_at: float = 0.0
    per_second: float = 0.0
    _used: float = 0.0

    @property
    def free(self) -> float:
        return self.balance - self.reserved

    def use(self, amount: float, now: float) -> None:
        """Calls have used so much; negative: less than was thought."""
        self.balance = min(self.capacity, self.balance - amount)
        self._used += amount
        self.used_at = now

    def remaining(self, *, alone: bool, now: float) -> float:
        """What callers may count on. With other holders, what lies in the bucket may go to them."""
        found = self.free + (self._level(now) if alone else 0.0)
        return max(0.0, min(self.capacity, found))

    def seconds_until(self, need: float, now: float) -> float:
        """When there is so much, if nobody else takes it; 0: as far as we know, now."""
        missing = need - self.free - self._level(now)
        return max(0.0, missing * 60 / self.capacity)

    def short(self, *, alone: bool) -> bool:
        """Whether to ask for more before somebody has to wait for it."""
        return self.free < self._cushion(alone) / 2

    def request(self, need: float, *, alone: bool, now: float) -> dict[str, Any]:
        idle = need <= 0 and now - self.used_at > IDLE_SECONDS
        cushion = 0.0 if idle else self._cushion(alone)
        returned = 0.0
        if need <= 0 and (idle or (not alone and self.free > 2 * cushion)):
            returned = max(0.0, self.free - cushion)
            self.balance -= returned
        wanted = 0.0 if idle else max(0.0, need + cushion - self.free)
        elapsed = max(0.05, min(RENEW_SECONDS, now - self.asked_at))
        self.per_second += _SMOOTHING * (max(0.0, self._used) / elapsed - self.per_second)
        self._used = 0.0
        self.asked_at = now
        return {
            "subject": self.subject,
            "kind": self.kind,
            "capacity": self.capacity,
            "held": self.balance,
            "wanted": min(wanted, self.capacity),
            "returned": returned,
        }

    def granted(self, reply: dict[str, Any], now: float) -> None:
        self.heard_at = now
        self.balance += reply["granted"]
        self.booked = max(0.0, self.balance)
        self.level = reply["level"]
        self.others = reply["others"]

    def refill_alone(self, *, holders: int, now: float) -> None:
        """The control plane is away: go on with our share of the limit, without its burst."""
        grown = max(0.0, min(60.0, now - self.heard_at)) * self.capacity / 60 / max(1, holders)
        self.heard_at = now
        self.level = self.others = 0.0
        self.balance = max(self.balance, min(self.balance + grown, max(1.0, self.capacity / 8)))

    def _level(self, now: float) -> float:
        # Of what we used since, the bucket does not know yet, and it is never fuller than full.
        full = self.capacity - self.booked - self.others
        return min(full, self.level + max(0.0, now - self.heard_at) * self.capacity / 60)

    def is_behind(self, now: float) -> bool:
        """Whether the bucket could refill if it knew of what was used, and somebody may need it."""
        unknown = self.booked - self.balance
        return unknown > 0 and self.free + self._level(now) < self.capacity / 2

    def _cushion(self, alone: bool) -> float:
        return max(self.capacity / (8 if alone else 64), 2 * self.per_second)


@dataclass(eq=False)
class Slots:
    """Calls at the same time. `used` are running, or may begin without our being asked."""

    subject: str
    limit: int
    held: int = 0
    used: int = 0
    others: int = 0
    asked_at: float = -1e9
    used_at: float = 0.0

    @property
    def free(self) -> int:
        return min(self.held, self.limit) - self.used

    def short(self) -> bool:
        return self.free <= 0 and self.held < self.limit

    def request(self, need: int, *, now: float) -> dict[str, Any]:
        idle = need <= 0 and not self.used
        spare = 0 if idle else max(2, self.limit // 4)
        self.asked_at = now
        wanted = min(max(self.limit, self.used), self.used + max(0, need) + spare)
        # What is given back is ours no more from now on, whenever the reply comes.
        self.held = min(self.held, wanted)
        return {"subject": self.subject, "limit": self.limit, "used": self.used, "wanted": wanted}

    def granted(self, reply: dict[str, Any], now: float) -> None:  # noqa: ARG002
        self.held = int(reply["held"])
        self.others = int(reply["others"])

    def go_on(self, *, holders: int) -> None:
        """The control plane is away: go on with our share of the limit."""
        self.held = max(self.held, self.limit // max(1, holders))


@dataclass(eq=False)
class Money:
    """Of all budgets of one credential, in billionths. Tokens and the ledger name it by `lease`."""

    credential: str
    user: str
    lease: str | None = None
    balance: int = 0
    reserved: int = 0
    state: Literal["ok", "reserved", "spent"] = "ok"
    others: int = 0
    """What other leases hold of these budgets: of that something may come back."""

    asked_at: float = -1e9
    used_at: float = 0.0
    per_second: float = 0.0
    sent: dict[str, Any] | None = None
    """Asked and not answered yet; repeated as it was until it is."""

    _used: int = 0

    @property
    def free(self) -> int:
        return self.balance - self.reserved

    def use(self, amount: int, now: float) -> None:
        self.balance -= amount
        self._used += amount
        self.used_at = now

    def request(self, need: int, *, seq: int, now: float) -> dict[str, Any]:
        """`seq` is more than any before."""
        if self.sent is not None:
            return self.sent
        idle = now - self.used_at > IDLE_SECONDS
        returned = 0
        if need <= 0 and idle and not self.reserved:
            returned = max(0, self.balance)
            self.balance -= returned
        elapsed = max(0.05, min(RENEW_SECONDS, now - self.asked_at))
        self.per_second += _SMOOTHING * (max(0, self._used) / elapsed - self.per_second)
        self._used = 0
        wanted = max(0, need + int(4 * self.per_second) - max(0, self.free)) if need > 0 else 0
        self.asked_at = now
        self.sent = {
            "credential": self.credential,
            "user": self.user,
            "lease": self.lease,
            "seq": seq,
            "wanted": wanted,
            "returned": returned,
        }
        return self.sent

    def granted(self, reply: dict[str, Any], now: float) -> None:  # noqa: ARG002
        self.sent = None
        if reply["lease"] != self.lease:
            # Ours had come to its end, and with it what we had of it.
            self.balance = min(0, self.balance) if self.lease is not None else self.balance
            self.lease = reply["lease"]
        self.balance += int(reply["granted"])
        self.state = reply["state"]
        self.others = int(reply["others"])

    def retire(self, now: float) -> None:
        """Begin a new lease with the next call, if nothing is left of this one.

        What a predictor took with it when it died counts as spent in a lease until that ends, so
        none should be kept longer than it is needed.
        """
        idle = now - self.used_at > IDLE_SECONDS
        if self.lease and idle and self.sent is None and self.balance <= 0 and not self.reserved:
            self.lease = None
