"""Tables: the secrets that webhooks are signed with, and messages that are on their way."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base, choice


class DeliveryState(StrEnum):
    PENDING = "pending"
    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class WebhookSecret(Base):
    """Of a user. The one before also signs until `previous_until`, so that nothing is missed."""

    __tablename__ = "webhook_secret"

    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"), primary_key=True)
    secret_sealed: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    previous_sealed: Mapped[str | None] = mapped_column(Text)
    previous_until: Mapped[datetime | None]


class WebhookDelivery(Base):
    """The message about one request: waiting for its end, then pending until somebody took it.

    `id` is the message's, the same in every attempt. `next_at` is when to try next, null before
    the request's end and once it is over. `reply` is the status of the last answer, `problem` why
    there was none.
    """

    __tablename__ = "webhook_delivery"

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    request_id: Mapped[str] = mapped_column(
        ForeignKey("async_request.id", ondelete="CASCADE"), unique=True
    )
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"), index=True)
    url: Mapped[str] = mapped_column(String(2000))
    state: Mapped[DeliveryState] = mapped_column(choice(DeliveryState, "state"))
    attempts: Mapped[int] = mapped_column(Integer)
    next_at: Mapped[datetime | None] = mapped_column(index=True)
    due_from: Mapped[datetime | None]
    reply: Mapped[int | None] = mapped_column(Integer)
    problem: Mapped[str | None] = mapped_column(String(200))
