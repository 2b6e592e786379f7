"""How much of a limit or budget a holder gets. Pure; amounts of money in billionths."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dormouse_control.leases.models import State

_PIECE = 16
"""A holder gets at most one part in so many of a budget that has plenty left, unless it needs more.
"""


@dataclass(frozen=True)
class Bucket:
    """A rate's bucket: `level` is what nobody holds. By our books its asker holds `mine`, others
    hold `others`, and those of whom we heard too long ago held `lost`, which counts as used.
    """

    level: float
    mine: float
    others: float
    lost: float


@dataclass(frozen=True)
class Lent:
    """`granted` is what the asker gets more; `held` is what it holds then. `wait` in seconds."""

    level: float
    held: float
    granted: float
    wait: float


def lend(
    bucket: Bucket,
    *,
    capacity: float,
    elapsed: float,
    held: float,
    wanted: float,
    returned: float,
) -> Lent:
    """`elapsed` seconds have gone by since the level was true. `held` is without `returned`.

    At no moment hold bucket and holders together more than the capacity: so over any time no more
    is used than the capacity and what refills in that time, whoever uses it and whatever gets lost.
    """
    full = capacity - bucket.mine - bucket.others - bucket.lost
    level = min(bucket.level + max(0.0, elapsed) * capacity / 60, full)
    # More than we gave: we know of an older state than the holder does. It comes from the level.
    level += returned + min(0.0, bucket.mine - held - returned)
    debt = max(0.0, -held)
    level -= debt
    granted = min(max(0.0, wanted - debt), max(0.0, level))
    level -= granted
    wait = 0.0 if level >= 1 else (1 - level) * 60 / capacity
    return Lent(level, held + debt + granted, debt + granted, wait)


@dataclass(frozen=True)
class Seats:
    """`held`: so many calls at once, all in all; `free` may still be had, by anybody."""

    held: int
    free: int


def seats(*, limit: int, others: int, used: int, wanted: int) -> Seats:
    held = max(used, min(wanted, limit - others))
    return Seats(held, max(0, limit - others - held))


@dataclass(frozen=True)
class Room:
    """What one budget has for a lease. `others` and `mine` are what leases have outstanding, others
    and the one that asks; `until` is when it begins anew.
    """

    limit: int
    charged: int
    others: int
    mine: int
    until: datetime | None

    @property
    def available(self) -> int:
        return self.limit - self.charged - self.others - self.mine


@dataclass(frozen=True)
class Paid:
    """`others` is the most that other leases have outstanding of one of the budgets."""

    granted: int
    state: State
    others: int
    until: datetime | None


def pay(rooms: Sequence[Room], wanted: int) -> Paid:
    """A piece for which every budget has room; with no budget, what is wanted."""
    others = max((room.others for room in rooms), default=0)
    spent = [room for room in rooms if room.charged >= room.limit]
    if spent:
        return Paid(0, "spent", others, _first_end(spent))
    if wanted <= 0 or not rooms:
        return Paid(max(0, wanted), "ok", others, None)
    available = max(0, min(room.available for room in rooms))
    granted = min(available, max(wanted, available // _PIECE))
    if granted >= wanted:
        return Paid(granted, "ok", others, None)
    short = [room for room in rooms if room.available < wanted]
    return Paid(granted, "reserved", others, _first_end(short))


def _first_end(rooms: Sequence[Room]) -> datetime | None:
    return min((room.until for room in rooms if room.until is not None), default=None)
