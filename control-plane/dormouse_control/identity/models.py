"""Tables: who may sign in, their sessions and keys, and what was taken back."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base, choice


class UserStatus(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"


class RevocationKind(StrEnum):
    USER = "user"
    KEY = "key"
    SESSION = "session"


class User(Base):
    __tablename__ = "user"

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    status: Mapped[UserStatus] = mapped_column(choice(UserStatus, "status"))
    tier: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]


class UserSession(Base):
    """A session: one family of refresh tokens, of which only number `seq` is valid."""

    __tablename__ = "session"

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"), index=True)
    seq: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    rotated_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class ApiKey(Base):
    __tablename__ = "api_key"
    __table_args__ = (Index(None, "user_id", "created_at"),)

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"))
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Revocation(Base):
    """What the authorizer must forget, in order. Numbers are never given twice."""

    __tablename__ = "revocation"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012  SQLAlchemy's own declaration

    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    kind: Mapped[RevocationKind] = mapped_column(choice(RevocationKind, "kind"))
    subject: Mapped[str] = mapped_column(String(30))
    created_at: Mapped[datetime]
