"""Rules of asynchronous requests for those who own them: read, listed, cancelled, deleted."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from dormouse_control.errors import NotFound
from dormouse_control.identity.operations import Caller
from dormouse_control.requests import claims
from dormouse_control.requests.models import (
    OPEN,
    AsyncBody,
    AsyncRequest,
    BodyPart,
    RequestStatus,
)


def get(reading: Session, caller: Caller, request_id: str) -> AsyncRequest:
    """Raises `NotFound` for another user's request as for none."""
    wanted = select(AsyncRequest).where(AsyncRequest.id == request_id, *_seen_by(caller))
    found = reading.scalar(wanted)
    if found is None:
        raise NotFound("You have no such request.")
    return found


def list_requests(
    reading: Session, caller: Caller, *, after: str | None, limit: int
) -> tuple[Sequence[AsyncRequest], str | None]:
    """Newest first; and where the next page begins."""
    wanted = select(AsyncRequest).where(*_seen_by(caller))
    if after is not None:
        wanted = wanted.where(AsyncRequest.id < after)
    rows = reading.scalars(wanted.order_by(AsyncRequest.id.desc()).limit(limit + 1)).all()
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def end(session: Session, caller: Caller, request_id: str, *, now: datetime) -> None:
    """Cancel it; one that has ended is erased. Raises `NotFound`."""
    found = get(session, caller, request_id)
    if not claims.cancel(session, found.id, now=now):
        session.execute(delete(AsyncRequest).where(AsyncRequest.id == found.id))


def positions(reading: Session, rows: Sequence[AsyncRequest]) -> Mapping[str, int]:
    """How many of the same user are before each that waits, by id. All `rows` are of one user."""
    if not any(row.status is RequestStatus.QUEUED for row in rows):
        return {}
    waiting = select(AsyncRequest.id).where(
        AsyncRequest.user_id == rows[0].user_id, AsyncRequest.status == RequestStatus.QUEUED
    )
    return {
        id: number for number, id in enumerate(reading.scalars(waiting.order_by(AsyncRequest.id)))
    }


def answered(reading: Session, request: AsyncRequest) -> bytes | None:
    """The body of its result."""
    if request.status in OPEN:
        return None
    return body(reading, request.id, BodyPart.ANSWERED)


def body(reading: Session, request_id: str, part: BodyPart) -> bytes | None:
    wanted = (AsyncBody.request_id == request_id, AsyncBody.part == part)
    return reading.scalar(select(AsyncBody.content).where(*wanted))


def _seen_by(caller: Caller) -> list[ColumnElement[bool]]:
    """A key that is limited to something sees what came with itself, and nothing else."""
    found = [AsyncRequest.user_id == caller.id]
    if caller.restricted:
        found.append(AsyncRequest.credential == caller.credential_id)
    return found
