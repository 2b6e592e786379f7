"""Tables: groups of users, and the entitlements that all members of a group have."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base


class Group(Base):
    __tablename__ = "user_group"

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    created_at: Mapped[datetime]


class GroupMember(Base):
    __tablename__ = "group_member"

    group_id: Mapped[str] = mapped_column(ForeignKey("user_group.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"), primary_key=True, index=True)
    added_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    added_at: Mapped[datetime]


class GroupEntitlement(Base):
    __tablename__ = "group_entitlement"
    __table_args__ = (UniqueConstraint("group_id", "service"),)

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("user_group.id"))
    service: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(String(500))
    granted_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[datetime]
