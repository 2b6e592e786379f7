"""Who works on a request, and what becomes of it: every change is one conditional UPDATE.

A worker owns a request by the number of its attempt. Whatever it writes says that number, so one
that was thought dead, or whose request was cancelled, changes nothing any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any  # errors are JSON

from sqlalchemy import ColumnElement, and_, case, delete, func, literal, or_, select, update
from sqlalchemy.orm import Session

from dormouse_control.db import UtcDateTime
from dormouse_control.requests.models import (
    OPEN,
    AsyncBody,
    AsyncRequest,
    BodyPart,
    RequestStatus,
)
from dormouse_control.webhooks import outbox

LEASE = timedelta(seconds=15)
MOST_CANDIDATES = 1000
_QUEUED, _RUNNING = RequestStatus.QUEUED, RequestStatus.RUNNING


@dataclass(frozen=True)
class Candidate:
    """`interruptions`: so many processes did not survive it."""

    id: str
    user_id: str
    service: str = ""
    interruptions: int = 0


@dataclass(frozen=True)
class Result:
    """`refusal` is the error of an answer that is none."""

    status: RequestStatus
    status_code: int | None = None
    body: bytes | None = None
    refusal: Mapping[str, Any] | None = None


def candidates(reading: Session, *, most: int, now: datetime) -> Sequence[Candidate]:
    """Those that anybody may claim now: at most so many of each user, the oldest, in turns."""
    number = func.row_number().over(partition_by=AsyncRequest.user_id, order_by=AsyncRequest.id)
    columns = (AsyncRequest.user_id, AsyncRequest.service, AsyncRequest.interruptions)
    numbered = (
        select(AsyncRequest.id, *columns, number.label("number")).where(_claimable(now)).subquery()
    )
    found = numbered.c
    wanted = select(found.id, found.user_id, found.service, found.interruptions)
    rows = reading.execute(
        wanted.where(found.number <= most).order_by(found.number, found.id).limit(MOST_CANDIDATES)
    )
    return [Candidate(*row) for row in rows]


def claim(session: Session, request_id: str, *, now: datetime) -> AsyncRequest | None:
    """None if somebody else has it, or it has ended."""
    lost = AsyncRequest.status == _RUNNING
    return session.scalar(
        update(AsyncRequest)
        .where(AsyncRequest.id == request_id, _claimable(now))
        .values(
            status=_RUNNING,
            attempt=AsyncRequest.attempt + 1,
            interruptions=AsyncRequest.interruptions + case((lost, 1), else_=0),
            lease_until=now + LEASE,
            started_at=func.coalesce(AsyncRequest.started_at, literal(now, UtcDateTime())),
        )
        .returning(AsyncRequest)
        .execution_options(synchronize_session=False)
    )


def renew(session: Session, held: Mapping[str, int], *, now: datetime) -> set[str]:
    """Those of `held` (id and attempt) that are still the worker's; their leases are longer now."""
    if not held:
        return set()
    owned = or_(*(_owned(id, attempt) for id, attempt in held.items()))
    statement = update(AsyncRequest).where(owned).values(lease_until=now + LEASE)
    return set(
        session.scalars(
            statement.returning(AsyncRequest.id).execution_options(synchronize_session=False)
        )
    )


def finish(
    session: Session, request_id: str, attempt: int, result: Result, *, now: datetime
) -> bool:
    """False, and nothing written, if it is not the worker's any more."""
    body = result.body
    values = {
        "status": result.status,
        "status_code": result.status_code,
        "refusal": result.refusal,
        "answered_bytes": len(body or b""),
        "ended_at": now,
        "lease_until": None,
    }
    if not _change(session, _owned(request_id, attempt), values):
        return False
    if body is not None:
        session.add(AsyncBody(request_id=request_id, part=BodyPart.ANSWERED, content=body))
        session.flush()
    outbox.due(session, [request_id], now=now)
    return True


def postpone(
    session: Session,
    request_id: str,
    attempt: int,
    *,
    until: datetime,
    refusal: Mapping[str, Any] | None,
    interrupted: bool = False,
) -> bool:
    """It is to be tried again. False if it is not the worker's any more. `interrupted`: whoever
    worked on it ended."""
    values = {
        "status": _QUEUED,
        "next_at": until,
        "lease_until": None,
        "refusal": refusal,
        "interruptions": AsyncRequest.interruptions + int(interrupted),
    }
    return _change(session, _owned(request_id, attempt), values)


def cancel(session: Session, request_id: str, *, now: datetime) -> bool:
    """False if it has ended. Whoever works on it finds out within a second."""
    values = {"status": RequestStatus.CANCELLED, "ended_at": now, "lease_until": None}
    still = and_(AsyncRequest.id == request_id, AsyncRequest.status.in_(OPEN))
    if not _change(session, still, values):
        return False
    outbox.due(session, [request_id], now=now)
    return True


def cancel_all(session: Session, *, now: datetime) -> None:
    """In an older copy of the database: what waits there was performed, or cancelled, since."""
    for id in session.scalars(select(AsyncRequest.id).where(AsyncRequest.status.in_(OPEN))).all():
        cancel(session, id, now=now)


def any_late(reading: Session, *, now: datetime) -> bool:
    return reading.scalar(select(AsyncRequest.id).where(*_late(now)).limit(1)) is not None


def expire(session: Session, *, now: datetime) -> None:
    """Those that waited for too long."""
    late = session.scalars(
        update(AsyncRequest)
        .where(*_late(now))
        .values(status=RequestStatus.EXPIRED, ended_at=now)
        .returning(AsyncRequest.id)
        .execution_options(synchronize_session=False)
    ).all()
    outbox.due(session, late, now=now)


def prune(session: Session, *, kept: timedelta, now: datetime) -> None:
    """Erase what ended long ago, with its bodies and webhook, unless that is still on its way."""
    told = AsyncRequest.id.not_in(outbox.on_their_way())
    session.execute(delete(AsyncRequest).where(AsyncRequest.ended_at <= now - kept, told))


def _change(session: Session, where: ColumnElement[bool], values: Mapping[str, Any]) -> bool:
    changed = session.scalar(
        update(AsyncRequest)
        .where(where)
        .values(**values)
        .returning(AsyncRequest.id)
        .execution_options(synchronize_session=False)
    )
    return changed is not None


def _owned(request_id: str, attempt: int) -> ColumnElement[bool]:
    return and_(
        AsyncRequest.id == request_id,
        AsyncRequest.attempt == attempt,
        AsyncRequest.status == _RUNNING,
    )


def _claimable(now: datetime) -> ColumnElement[bool]:
    waits = and_(
        AsyncRequest.status == _QUEUED,
        AsyncRequest.next_at <= now,
        AsyncRequest.deadline_at > now,
    )
    return or_(waits, and_(AsyncRequest.status == _RUNNING, AsyncRequest.lease_until <= now))


def _late(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (AsyncRequest.status == _QUEUED, AsyncRequest.deadline_at <= now)
