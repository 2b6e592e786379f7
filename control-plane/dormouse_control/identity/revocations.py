"""What was taken back, in the order of the commits, for authorizers that remember callers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from dormouse_control.identity.models import Revocation, RevocationKind

KEPT = timedelta(days=1)
MOST_AT_ONCE = 1000

# Any number that nobody else in the database uses.
_LOCK = 0x7265766F6B65


@dataclass(frozen=True)
class News:
    """`reset`: the reader missed something and must forget all it knows."""

    last: int
    reset: bool
    items: Sequence[Revocation] = ()


def record(session: Session, kind: RevocationKind, subject: str, *, now: datetime) -> None:
    """In the caller's transaction: known to authorizers exactly if the change is committed."""
    if session.get_bind().dialect.name == "postgresql":
        # Numbers must appear in their order, or a reader who saw 6 never asks for 5.
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    session.add(Revocation(kind=kind, subject=subject, created_at=now))
    session.flush()


def news(session: Session, *, after: int) -> News:
    """What came after number `after`; -1 asks only for the newest number."""
    first, last = session.execute(select(func.min(Revocation.seq), func.max(Revocation.seq))).one()
    first, last = first or 1, last or 0
    if after == -1:
        return News(last, reset=False)
    if after > last or after < first - 1:
        return News(last, reset=True)
    newer = select(Revocation).where(Revocation.seq > after).order_by(Revocation.seq)
    items = session.scalars(newer.limit(MOST_AT_ONCE)).all()
    return News(items[-1].seq if items else last, reset=False, items=items)


def prune(session: Session, *, now: datetime) -> None:
    """Drop what is old; the newest stays, because its number is the stream's position."""
    newest = select(func.max(Revocation.seq)).scalar_subquery()
    old = Revocation.created_at < now - KEPT
    session.execute(delete(Revocation).where(old, Revocation.seq < newest))
