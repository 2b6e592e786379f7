"""Requests and tokens a minute: buckets that everybody's calls are taken from."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from dormouse_control import bulk
from dormouse_control.leases.decisions import Bucket, lend
from dormouse_control.leases.models import RateBucket, RatePiece
from dormouse_control.leases.schemas import RateAsk, RateGot

FORGOTTEN_AFTER = timedelta(seconds=30)
"""What a holder held who was not heard of for so long counts as used."""

KEPT = timedelta(hours=1)
"""A bucket is full when it was not used for so long, so nobody has to know of it."""


class Buckets:
    """The buckets that a batch is about, read at once and written at once."""

    def __init__(self, session: Session, ids: Sequence[str], *, at: datetime) -> None:
        found = select(RateBucket.id, RateBucket.level, RateBucket.filled_at)
        wanted = found.where(bulk.among(session, RateBucket.id, ids))
        self._levels = {row.id: (row.level, row.filled_at) for row in session.execute(wanted)}
        self._pieces: dict[str, dict[str, float]] = defaultdict(dict)
        self._lost: dict[str, dict[str, float]] = defaultdict(dict)
        pieces = select(RatePiece.bucket, RatePiece.holder, RatePiece.held, RatePiece.heard_at)
        for row in session.execute(pieces.where(bulk.among(session, RatePiece.bucket, ids))):
            living = row.heard_at >= at - FORGOTTEN_AFTER
            held = self._pieces if living else self._lost
            held[row.bucket][row.holder] = row.held

    def lend(self, ask: RateAsk, *, holder: str, now: datetime) -> RateGot:
        id = _id(ask)
        level, filled_at = self._levels.get(id, (ask.capacity, now))
        # Our own piece counts, however long ago we were heard: we say now what became of it.
        mine = self._pieces[id].pop(holder, 0.0) + self._lost[id].pop(holder, 0.0)
        others = sum(self._pieces[id].values())
        lent = lend(
            Bucket(level, mine, others, sum(self._lost[id].values())),
            capacity=ask.capacity,
            elapsed=(now - filled_at).total_seconds(),
            held=ask.held,
            wanted=ask.wanted,
            returned=ask.returned,
        )
        self._levels[id] = (lent.level, now)
        self._pieces[id][holder] = lent.held
        return RateGot(granted=lent.granted, level=lent.level, others=others, wait=lent.wait)

    def write(
        self, session: Session, asks: Sequence[RateAsk], *, holder: str, at: datetime, now: datetime
    ) -> None:
        capacities = {_id(ask): ask.capacity for ask in asks}
        ids = sorted(capacities)
        bulk.put(
            session,
            RateBucket,
            ("id", "level", "capacity", "filled_at"),
            [(id, self._levels[id][0], capacities[id], now) for id in ids],
            unique=("id",),
        )
        held = [(id, holder, self._pieces[id][holder], at) for id in ids]
        lost = [(id, other, 0.0, at) for id in ids for other in self._lost[id]]
        bulk.put(
            session,
            RatePiece,
            ("bucket", "holder", "held", "heard_at"),
            sorted(held + lost),
            unique=("bucket", "holder"),
        )


def lend_all(
    session: Session, asks: Sequence[RateAsk], *, holder: str, at: datetime, now: datetime
) -> list[RateGot]:
    """`at` is the clock of leases, `now` the wall's, by which buckets refill."""
    if not asks:
        return []
    buckets = Buckets(session, sorted({_id(ask) for ask in asks}), at=at)
    got = [buckets.lend(ask, holder=holder, now=now) for ask in asks]
    buckets.write(session, asks, holder=holder, at=at, now=now)
    return got


def prune(session: Session, *, at: datetime, now: datetime) -> None:
    """Forget buckets that are full, of which nobody has anything."""
    held = exists().where(
        RatePiece.bucket == RateBucket.id,
        RatePiece.held > 0,
        RatePiece.heard_at >= at - FORGOTTEN_AFTER,
    )
    full = RateBucket.level + RateBucket.capacity * (KEPT.total_seconds() / 60)
    session.execute(
        delete(RateBucket)
        .where(RateBucket.filled_at < now - KEPT, full >= RateBucket.capacity, ~held)
        .execution_options(synchronize_session=False)
    )


def _id(ask: RateAsk) -> str:
    return f"{ask.kind}:{ask.subject}"
