"""Table: who may call which service."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base, choice


class EntitlementStatus(StrEnum):
    ACTIVE = "active"
    PENDING = "pending"
    REFUSED = "refused"


class Entitlement(Base):
    """A user's own right. `decided_by` is null where the service is open to all.

    `reason` is the words of whoever decided last, or of the user while it is pending.
    """

    __tablename__ = "entitlement"
    __table_args__ = (UniqueConstraint("user_id", "service"),)

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"))
    service: Mapped[str] = mapped_column(String(64))
    status: Mapped[EntitlementStatus] = mapped_column(choice(EntitlementStatus, "status"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(String(500))
    decided_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    decided_at: Mapped[datetime | None]
