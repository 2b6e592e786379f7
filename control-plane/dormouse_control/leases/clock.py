"""The clock of leases: it goes on only as far as holders could be heard of.

While nobody is heard, because the control plane is away or the wall's clock was set, nothing that
authorizers hold may run out: they go on with it.
"""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from dormouse_control.db import take_turn
from dormouse_control.leases.models import LeaseClock

MOST_AT_ONCE = timedelta(seconds=10)
"""Holders are heard of more often while they hold anything that runs out soon."""


def tick(session: Session, *, now: datetime) -> datetime:
    """What the clock shows. Until the end of the transaction nobody else deals with leases."""
    take_turn(session, "leases")
    clock = session.get(LeaseClock, 1, populate_existing=True)
    if clock is None:
        clock = LeaseClock(id=1, seen_at=now, at=now)
        session.add(clock)
    gone = max(timedelta(), now - clock.seen_at)
    clock.at += min(gone, MOST_AT_ONCE)
    clock.seen_at = now
    session.flush()
    return clock.at
