"""What was taken back, in the order of the commits, for authorizers that remember callers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from dormouse_control.db import NUMBERED, take_turn
from dormouse_control.identity.models import Revocation, RevocationKind

KEPT = timedelta(days=1)
RECENT = timedelta(minutes=2)
"""Longer than anything lives that an authorizer made before it heard of a revocation."""
MOST_AT_ONCE = 1000


RECORDED = "revocations.recorded"
"""In a session's `info`: the number of the last revocation that it commits."""


@dataclass(frozen=True)
class News:
    """`reset`: the reader missed something and must forget all it knows."""

    last: int
    reset: bool
    items: Sequence[Revocation] = ()


def record(
    session: Session,
    kind: RevocationKind,
    subject: str,
    *,
    now: datetime,
    cuts: bool = False,
    service: str | None = None,
) -> None:
    """In the caller's transaction: known to authorizers exactly if the change is committed.

    With `cuts` the subject's running calls end too, all or those on `service`.
    """
    record_all(session, kind, [subject], now=now, cuts=cuts, service=service)


def record_all(
    session: Session,
    kind: RevocationKind,
    subjects: Iterable[str],
    *,
    now: datetime,
    cuts: bool = False,
    service: str | None = None,
) -> None:
    """`record` for many subjects at once."""
    take_turn(session, NUMBERED)  # or a reader who saw number 6 never asks for 5
    rows = [
        Revocation(kind=kind, subject=subject, created_at=now, service=service, cuts=cuts)
        for subject in subjects
    ]
    session.add_all(rows)
    session.flush()
    if rows:
        session.info[RECORDED] = max(row.seq for row in rows)


def news(session: Session, *, after: int) -> News:
    """What came after number `after`."""
    first, last = session.execute(select(func.min(Revocation.seq), func.max(Revocation.seq))).one()
    first, last = first or 1, last or 0
    if after > last or after < first - 1:
        return News(last, reset=True)
    newer = select(Revocation).where(Revocation.seq > after).order_by(Revocation.seq)
    items = session.scalars(newer.limit(MOST_AT_ONCE)).all()
    return News(items[-1].seq if items else last, reset=False, items=items)


def last(session: Session) -> int:
    """The number of the last one; 0 if there never was one."""
    return session.scalar(select(func.max(Revocation.seq))) or 0


def newest(session: Session, *, now: datetime) -> News:
    """Where the stream stands, for who begins to follow it; and what may still be on its way."""
    position = last(session)
    recent = select(Revocation).where(Revocation.created_at > now - RECENT)
    items = session.scalars(recent.order_by(Revocation.seq.desc()).limit(MOST_AT_ONCE)).all()
    return News(position, reset=False, items=items[::-1])


def prune(session: Session, *, now: datetime) -> None:
    """Drop what is old; the newest stays, because its number is the stream's position."""
    newest = select(func.max(Revocation.seq)).scalar_subquery()
    old = Revocation.created_at < now - KEPT
    session.execute(delete(Revocation).where(old, Revocation.seq < newest))
