"""Tables of the ledger. Amounts are in billionths of the currency.

Entries and prices are only ever added; the database itself refuses anything else (migration 0003).
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base, choice
from dormouse_control.identity.models import Period


class EntryKind(StrEnum):
    """What a lease took out of budgets, what calls cost, and what a lease gave back unused."""

    RESERVE = "reserve"
    CHARGE = "charge"
    RELEASE = "release"


class LedgerEntry(Base):
    """`key` says what the entry is for, so that nothing counts twice, however often it is told.

    "reserve:LEASE:SEQ", "release:LEASE:SEQ" (or "…:expired") and "charge:REQUEST". A charge counts
    at `at`: when the call ended, but never in the future. `groups` are those that it counts for
    besides, the user's at that moment. No foreign keys: an account outlives what it is about.
    """

    __tablename__ = "ledger_entry"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    at: Mapped[datetime]
    kind: Mapped[EntryKind] = mapped_column(choice(EntryKind, "kind"))
    key: Mapped[str] = mapped_column(String(140), unique=True)
    lease_id: Mapped[str | None] = mapped_column(String(30))
    request_id: Mapped[str | None] = mapped_column(String(128))
    user_id: Mapped[str] = mapped_column(String(30))
    groups: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    amount_nano: Mapped[int] = mapped_column(BigInteger)


class Spending(Base):
    """What was charged to a user, key or group on a day, and in a month: a sum of charges."""

    __tablename__ = "spending"

    subject_id: Mapped[str] = mapped_column(String(30), primary_key=True)
    period: Mapped[Period] = mapped_column(choice(Period, "period"), primary_key=True)
    begins: Mapped[datetime] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(String(8))
    nano: Mapped[int] = mapped_column(BigInteger)


class PriceList(Base):
    """A service's prices as they once were, under a digest of them: JSON of `catalog.Prices`."""

    __tablename__ = "price_list"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    prices: Mapped[str] = mapped_column(Text)
