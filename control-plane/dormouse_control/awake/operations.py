"""Shares the time in which a predictor worked for nobody among the calls that it answered.

In proportion to their computing, or in equal parts if none computed. What the calls get makes up
the whole to the millisecond: each gets what the calls up to it are due, less what those before it
got. Done in steps of a transaction each, so that whoever is killed is gone on from, and a predictor
that answered a million calls holds nobody up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any  # rows for an insert

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from dormouse_control.awake.models import AwakePeriod
from dormouse_control.db import insert_new
from dormouse_control.usage.models import UsageEntry

STEP = 2000


@dataclass(frozen=True)
class Period:
    """As the nest reports it."""

    instance: str
    service: str
    gpus: int
    woke: datetime
    ended: datetime
    load_ms: int


def period(*, woke: int, ended: int, **rest: Any) -> Period:
    """From a report, with times in ms since 1970."""
    return Period(woke=_time(woke), ended=_time(max(woke, ended)), **rest)


def keep(session: Session, periods: Sequence[Period], *, now: datetime) -> int:
    """How many were new."""
    rows: list[dict[str, Any]] = [
        {**vars(each), "received_at": now, "shared_entry": 0, "shared_weight": 0}
        for each in {each.instance: each for each in periods}.values()
    ]
    column = AwakePeriod.instance
    return len(insert_new(session, AwakePeriod, rows, unique=(column,), returning=column))


def share_all(sessions: sessionmaker[Session], *, now: datetime) -> int:
    """Whatever is still to be shared. Returns in how many steps."""
    steps = 0
    while True:
        with sessions.begin() as session:
            # Another control plane may be at it.
            waiting = select(AwakePeriod).where(AwakePeriod.shared_at.is_(None))
            first = waiting.order_by(AwakePeriod.ended).limit(1).with_for_update(skip_locked=True)
            period = session.scalar(first)
            if period is None:
                return steps
            _step(session, period, now=now)
        steps += 1


def _step(session: Session, period: AwakePeriod, *, now: datetime) -> None:
    if period.calls is None:
        _measure(session, period)
    idle, computed = period.idle_ms or 0, period.computed_ms or 0
    whole = computed or period.calls or 0
    rows = session.execute(
        select(UsageEntry.id, UsageEntry.compute_ms)
        .where(
            UsageEntry.predictor == period.instance,
            UsageEntry.id > period.shared_entry,
            UsageEntry.id <= (period.last_entry or 0),
        )
        .order_by(UsageEntry.id)
        .limit(STEP)
    ).all()
    shares = []
    for row in rows:
        before = idle * period.shared_weight // whole
        period.shared_weight += row.compute_ms if computed else 1
        shares.append({"id": row.id, "idle_ms": idle * period.shared_weight // whole - before})
        period.shared_entry = row.id
    if shares:
        session.execute(update(UsageEntry), shares)
    if len(rows) < STEP:
        period.shared_at = now


def _measure(session: Session, period: AwakePeriod) -> None:
    """What there is to share, among whom. Calls that are booked later get nothing."""
    calls, computed, loaded, last = session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(UsageEntry.compute_ms), 0),
            func.coalesce(func.sum(UsageEntry.load_ms), 0),
            func.max(UsageEntry.id),
        ).where(UsageEntry.predictor == period.instance)
    ).one()
    lasted = (period.ended - period.woke) // timedelta(milliseconds=1)
    period.idle_ms = max(0, lasted - int(computed) - int(loaded))
    period.calls, period.computed_ms, period.last_entry = calls, int(computed), last


def _time(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
