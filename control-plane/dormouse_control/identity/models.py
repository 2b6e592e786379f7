"""Tables: who may sign in, their sessions and keys, and what was taken back."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base, choice


class UserStatus(StrEnum):
    """Only who is active may do anything. What is erased never comes back, nor does its id."""

    ACTIVE = "active"
    UNVERIFIED = "unverified"
    PENDING = "pending"
    DISABLED = "disabled"
    ERASED = "erased"


class Role(StrEnum):
    """In rising order: whoever may do more may do all that is before."""

    USER = "user"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"

    def reaches(self, needed: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Period(StrEnum):
    """Over which a budget is counted; days and months are UTC's."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class RevocationKind(StrEnum):
    USER = "user"
    KEY = "key"
    SESSION = "session"


class User(Base):
    __tablename__ = "user"

    """`email` is canonical, and null once erased; `password_hash` is null for who has no password.

    `totp_sealed` is the shared secret, which counts from `totp_confirmed_at` on; `totp_last_step`
    is the time step of the last code taken, because a code is good for once (RFC 6238, 5.2).
    """

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    email: Mapped[str | None] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[UserStatus] = mapped_column(choice(UserStatus, "status"))
    role: Mapped[Role] = mapped_column(choice(Role, "role"))
    tier: Mapped[str] = mapped_column(ForeignKey("tier.id"))
    created_at: Mapped[datetime]
    email_verified_at: Mapped[datetime | None]
    totp_sealed: Mapped[str | None] = mapped_column(Text)
    totp_confirmed_at: Mapped[datetime | None]
    totp_last_step: Mapped[int | None] = mapped_column(BigInteger)


class UserSession(Base):
    """A session: one family of refresh tokens, of which only number `seq` is valid.

    `method` says how it was opened: "password" or the name of an OpenID provider. `address` and
    `user_agent` are shown to its owner, who recognises it by them.
    """

    __tablename__ = "session"

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"), index=True)
    seq: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    rotated_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    method: Mapped[str] = mapped_column(String(64))
    second_factor: Mapped[bool] = mapped_column(Boolean(create_constraint=False))
    address: Mapped[str | None] = mapped_column(String(45))
    user_agent: Mapped[str | None] = mapped_column(String(200))


class ApiKey(Base):
    """Limits that are null do not narrow what the owner may; `budget_nano` in billionths."""

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
    expires_at: Mapped[datetime | None]
    services: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    models: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    endpoints: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    ip_ranges: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    tokens_per_minute: Mapped[int | None] = mapped_column(Integer)
    concurrent_calls: Mapped[int | None] = mapped_column(Integer)
    tags: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    budget_nano: Mapped[int | None] = mapped_column(BigInteger)
    budget_period: Mapped[Period | None] = mapped_column(choice(Period, "budget_period"))


class Revocation(Base):
    """What authorizers must forget, in order. Numbers are never given twice.

    With `cuts` also calls that run at this moment end: all of the subject's, or with `service`
    only those on that service.
    """

    __tablename__ = "revocation"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012  SQLAlchemy's own declaration

    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    kind: Mapped[RevocationKind] = mapped_column(choice(RevocationKind, "kind"))
    subject: Mapped[str] = mapped_column(String(30))
    created_at: Mapped[datetime]
    service: Mapped[str | None] = mapped_column(String(64))
    cuts: Mapped[bool] = mapped_column(Boolean(create_constraint=False))
