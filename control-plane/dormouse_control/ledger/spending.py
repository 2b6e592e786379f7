"""Running sums of what was charged, so that nobody adds up a month of calls to look at a budget."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from dormouse_control import bulk
from dormouse_control.identity.models import Period
from dormouse_control.ledger.models import Spending

_COLUMNS = ("subject", "subject_id", "period", "begins", "nano")
_UNIQUE = ("subject_id", "period", "begins")


class Share(NamedTuple):
    """Charges of one day (UTC) count for this subject: "user", "key" or "group"."""

    subject: str
    subject_id: str
    day: datetime


def day_of(time: datetime) -> datetime:
    """When the day began, in UTC."""
    utc = time.astimezone(UTC)
    return _day(utc.year, utc.month, utc.day)


@cache
def periods(day: datetime) -> tuple[tuple[Period, datetime], ...]:
    """Those that are stored that the day is in, and when they began; months add up to the total."""
    return (Period.DAY, day), (Period.MONTH, day.replace(day=1))


def add(session: Session, charged: Mapping[Share, int]) -> None:
    """In billionths of the currency."""
    sums: dict[tuple[str, str, datetime, str], int] = defaultdict(int)
    for (subject, subject_id, day), nano in charged.items():
        if nano:
            for period, begins in periods(day):
                sums[subject_id, period.value, begins, subject] += nano
    rows = [
        (subject, subject_id, period, begins, nano)
        for (subject_id, period, begins, subject), nano in sorted(sums.items())
    ]
    bulk.add_up(session, Spending, _COLUMNS, rows, unique=_UNIQUE, amount="nano")


def spent(
    reading: Session, subject: str, subject_id: str, period: Period, begins: datetime | None
) -> int:
    """What was charged in the period that began then (None: always), in billionths."""
    wanted = select(func.coalesce(func.sum(Spending.nano), 0)).where(
        Spending.subject == subject,
        Spending.subject_id == subject_id,
        Spending.period == (Period.MONTH if begins is None else period),
    )
    if begins is not None:
        wanted = wanted.where(Spending.begins == begins)
    return int(reading.scalar(wanted) or 0)


def of_many(
    reading: Session, subject_ids: Collection[str], *, now: datetime
) -> dict[tuple[str, Period], int]:
    """What was charged to them so far in the periods that run now."""
    (_, day), (_, month) = periods(day_of(now))
    running = or_(
        Spending.period == Period.MONTH,
        and_(Spending.period == Period.DAY, Spending.begins == day),
    )
    wanted = select(Spending.subject_id, Spending.period, Spending.begins, Spending.nano).where(
        bulk.among(reading, Spending.subject_id, subject_ids), running
    )
    found: dict[tuple[str, Period], int] = defaultdict(int)
    for subject_id, period, begins, nano in reading.execute(wanted):
        if begins in (day, month):
            found[subject_id, period] += nano
        if period is Period.MONTH:
            found[subject_id, Period.TOTAL] += nano
    return dict(found)


def forget(session: Session, subject_ids: Collection[str]) -> None:
    """Drop the sums of keys whose calls are nobody's any more."""
    session.execute(delete(Spending).where(Spending.subject_id.in_(sorted(subject_ids))))


@cache
def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)
