"""Tables: calls that nobody waits for, and what was sent and answered."""

from datetime import datetime
from enum import StrEnum
from typing import Any  # headers and errors are JSON

from sqlalchemy import JSON, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base, choice


class RequestStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


OPEN = (RequestStatus.QUEUED, RequestStatus.RUNNING)


class BodyPart(StrEnum):
    ASKED = "asked"
    ANSWERED = "answered"


class AsyncRequest(Base):
    """`credential` is the id of the key or session that it came with, `address` where from.

    `call_id` is the request id of every attempt to call the model, so that all are charged once.
    A claim adds 1 to `attempt`, and who claimed writes only while it is still theirs;
    `interruptions` counts claims that were lost before their end, and predictors that died.
    `next_at` is when a queued one may be claimed, `lease_until` when a running one may be claimed
    by somebody else. `refusal` is why it had to wait or how it failed. `asked_bytes` and
    `answered_bytes` are what they take.
    """

    __tablename__ = "async_request"
    __table_args__ = (
        Index(None, "user_id", "id"),
        Index(None, "status", "next_at"),
        Index(None, "status", "lease_until"),
        Index(None, "ended_at"),
    )

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"))
    credential: Mapped[str] = mapped_column(String(30))
    address: Mapped[str | None] = mapped_column(String(45))
    call_id: Mapped[str] = mapped_column(String(36))
    endpoint: Mapped[str] = mapped_column(String(64))
    path: Mapped[str] = mapped_column(String(64))
    service: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(128))
    headers: Mapped[dict[str, str]] = mapped_column(JSON)
    status: Mapped[RequestStatus] = mapped_column(choice(RequestStatus, "status"))
    attempt: Mapped[int] = mapped_column(Integer)
    interruptions: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
    deadline_at: Mapped[datetime]
    next_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    status_code: Mapped[int | None] = mapped_column(Integer)
    refusal: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    asked_bytes: Mapped[int] = mapped_column(Integer)
    answered_bytes: Mapped[int] = mapped_column(Integer)


class AsyncBody(Base):
    """In a table of its own: who only looks at a request, or renews its lease, reads no body."""

    __tablename__ = "async_body"

    request_id: Mapped[str] = mapped_column(
        ForeignKey("async_request.id", ondelete="CASCADE"), primary_key=True
    )
    part: Mapped[BodyPart] = mapped_column(choice(BodyPart, "part"), primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
