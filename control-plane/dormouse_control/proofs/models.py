"""Tables: what people prove themselves with once, and how often somebody failed to."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base, choice


class TokenKind(StrEnum):
    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105  a kind, not a password
    ADMINISTRATOR = "administrator"
    SECOND_FACTOR = "second_factor"
    LOGIN_CODE = "login_code"


class OneTimeToken(Base):
    """Good for one use of one kind; its secret is a MAC of id and kind and stored nowhere.

    `bound` is what else must fit: the address to verify, or the challenge of a login code.
    """

    __tablename__ = "one_time_token"

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    kind: Mapped[TokenKind] = mapped_column(choice(TokenKind, "kind"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user.id"), index=True)
    bound: Mapped[str | None] = mapped_column(String(254))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class RecoveryCode(Base):
    """In place of the second factor, once. `digest` is a MAC of the code."""

    __tablename__ = "recovery_code"
    __table_args__ = (UniqueConstraint("user_id", "digest"),)

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"))
    digest: Mapped[str] = mapped_column(String(43))
    used_at: Mapped[datetime | None]


class SignInAttempts(Base):
    """Failures since the last success, counted before the password is looked at.

    `account` is a MAC of the e-mail address, so that unknown ones are counted alike. `source` is a
    MAC of an address that has signed in before, or empty for all strangers together: who floods
    an account with guesses from elsewhere does not keep its owner out.
    """

    __tablename__ = "sign_in_attempts"

    account: Mapped[str] = mapped_column(String(43), primary_key=True)
    source: Mapped[str] = mapped_column(String(43), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    last_at: Mapped[datetime]
