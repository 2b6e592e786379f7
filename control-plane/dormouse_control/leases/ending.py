"""The end of leases, and of what nobody holds any more."""

from datetime import datetime, timedelta
from typing import cast

import structlog
from sqlalchemy import ColumnElement, Table, bindparam, delete, select, update
from sqlalchemy.orm import Session, sessionmaker

from dormouse_control.leases import clock, rates, slots
from dormouse_control.leases.models import Lease, LeaseHolder
from dormouse_control.ledger import entries
from dormouse_control.ledger.models import EntryKind

log = structlog.get_logger(__name__)

_KEPT = timedelta(hours=1)
_AT_ONCE = 1000


def sweep(sessions: sessionmaker[Session], *, now: datetime) -> None:
    """Release what leases had left of which nobody was heard for too long; forget old rows.

    In transactions of its own, because whoever deals with leases waits for it.
    """
    while True:
        with sessions.begin() as session:
            at = clock.tick(session, now=now)
            ended = _end(session, Lease.expires_at < at, now=now)
            if ended < _AT_ONCE:
                rates.prune(session, at=at, now=now)
                slots.prune(session, at=at)
                session.execute(delete(LeaseHolder).where(LeaseHolder.heard_at < at - _KEPT))
        if ended < _AT_ONCE:
            return


def end_of_user(session: Session, user_id: str, *, credential: str, now: datetime) -> None:
    """Of whoever is erased. `credential` is what their leases are for from now on."""
    _end(session, Lease.user_id == user_id, now=now, at_once=None)
    session.execute(update(Lease).where(Lease.user_id == user_id).values(credential=credential))


def _end(
    session: Session, which: ColumnElement[bool], *, now: datetime, at_once: int | None = _AT_ONCE
) -> int:
    """How many."""
    columns = (Lease.id, Lease.user_id, Lease.granted_nano, Lease.returned_nano, Lease.charged_nano)
    living = select(*columns).where(which, Lease.ended_at.is_(None))
    found = session.execute(living.order_by(Lease.id).limit(at_once).with_for_update()).all()
    left = {
        row.id: max(0, row.granted_nano - row.returned_nano - row.charged_nano) for row in found
    }
    released = [
        entries.of_step(
            EntryKind.RELEASE,
            row.id,
            entries.EXPIRED,
            user_id=row.user_id,
            amount_nano=left[row.id],
            at=now,
        )
        for row in found
        if left[row.id]
    ]
    entries.write(session, released)
    if found:
        ends = (
            update(cast(Table, Lease.__table__))
            .where(Lease.id == bindparam("lease"))
            .values(returned_nano=Lease.returned_nano + bindparam("left"), ended_at=now)
        )
        session.execute(ends, [{"lease": id, "left": nano} for id, nano in sorted(left.items())])
    if released:
        log.info("leases_ended", leases=len(found), released_nano=sum(left.values()))
    return len(found)
