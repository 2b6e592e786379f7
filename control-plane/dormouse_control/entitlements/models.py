"""Table: who may call which service."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base, choice


class EntitlementStatus(StrEnum):
    ACTIVE = "active"
    PENDING = "pending"


class Entitlement(Base):
    __tablename__ = "entitlement"
    __table_args__ = (UniqueConstraint("user_id", "service"),)

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"))
    service: Mapped[str] = mapped_column(String(64))
    status: Mapped[EntitlementStatus] = mapped_column(choice(EntitlementStatus, "status"))
    created_at: Mapped[datetime]
