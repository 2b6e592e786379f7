"""Table: mail that waits to be sent, or was. Links are made when sending and stored nowhere."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base, choice


class MailKind(StrEnum):
    VERIFY_EMAIL = "verify_email"
    REGISTERED_TWICE = "registered"
    RESET_PASSWORD = "reset_password"  # noqa: S105  a kind, not a password
    INVITATION = "invitation"
    CHANGED = "changed"
    BUDGET = "budget"


class Mail(Base):
    """`token` is the id of the invitation that the link is made of.

    `next_at` is when to try next, null once that is over; by what is kept for an hour after that
    is counted how much an address gets. Whether `address` has an account is looked up only then.
    `about` is what a message of kind "changed" tells: "password", "second_factor", …; in one of
    kind "budget" it is a whole sentence.
    """

    __tablename__ = "mail"

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    kind: Mapped[MailKind] = mapped_column(choice(MailKind, "kind"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("user.id"), index=True)
    address: Mapped[str] = mapped_column(String(254), index=True)
    token: Mapped[str | None] = mapped_column(String(30))
    about: Mapped[str | None] = mapped_column(String(300))
    created_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(Integer)
    next_at: Mapped[datetime | None] = mapped_column(index=True)
    problem: Mapped[str | None] = mapped_column(String(200))
