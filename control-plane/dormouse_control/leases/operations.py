"""Lends pieces of limits and budgets to authorizers: a whole batch in one transaction."""

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dormouse_control.errors import Conflict
from dormouse_control.leases import clock, money, rates, slots
from dormouse_control.leases.models import LeaseHolder
from dormouse_control.leases.schemas import Batch, Lots

_PRESENT = timedelta(seconds=10)
_LATE = 1_000_000
"""Who begins again while the clock was set back numbers its batches from much lower on."""


def lend(session: Session, batch: Batch, *, now: datetime) -> Lots:
    """Raises `Conflict` for a batch that comes after a later one of the same holder."""
    at = clock.tick(session, now=now)
    _hear(session, batch, at=at)
    if batch.fresh:
        money.end_soon(session, holder=batch.holder, at=at)
        slots.leave_behind(session, holder=batch.holder, at=at)
    present = select(func.count()).where(LeaseHolder.heard_at >= at - _PRESENT)
    return Lots(
        holders=session.scalar(present) or 0,
        rates=rates.lend_all(session, batch.rates, holder=batch.holder, at=at, now=now),
        slots=slots.lend_all(session, batch.slots, holder=batch.holder, at=at),
        money=money.lend_all(session, batch.money, holder=batch.holder, at=at, now=now),
    )


def _hear(session: Session, batch: Batch, *, at: datetime) -> None:
    holder = session.get(LeaseHolder, batch.holder)
    if holder is None:
        holder = LeaseHolder(id=batch.holder)
        session.add(holder)
    elif _is_late(batch.sent, holder.sent):
        raise Conflict("A later batch of this holder was answered already.")
    holder.heard_at, holder.sent = at, batch.sent
    session.flush()


def _is_late(sent: int | None, last: int | None) -> bool:
    return sent is not None and last is not None and 0 <= last - sent < _LATE
