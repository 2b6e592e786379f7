"""Table: who did what to whose rights, in a chain that shows every later change."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base, choice


class Outcome(StrEnum):
    DONE = "done"
    REFUSED = "refused"


class AuditEntry(Base):
    """Only ever added to. `seq` has no gaps; `hash` covers the row and the hash before it.

    No names and addresses of mail, only ids: what is erased elsewhere leaves no trace here.
    `actor` is null for the platform itself and for who has not signed in.
    """

    __tablename__ = "audit_entry"
    __table_args__ = (Index(None, "actor", "seq"), Index(None, "subject", "seq"))

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    time: Mapped[datetime]
    actor: Mapped[str | None] = mapped_column(String(30))
    credential: Mapped[str | None] = mapped_column(String(30))
    address: Mapped[str | None] = mapped_column(String(45))
    request_id: Mapped[str | None] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[Outcome] = mapped_column(choice(Outcome, "outcome"))
    subject: Mapped[str | None] = mapped_column(String(128))
    details: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)
