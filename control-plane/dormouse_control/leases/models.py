"""Tables of what authorizers hold: pieces of rates, of calls at once, and of money.

Times of holders, pieces and leases go by the clock of leases (`clock.py`), not by the wall's.
"""

from datetime import datetime
from typing import Literal

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base

State = Literal["ok", "reserved", "spent"]


class LeaseClock(Base):
    """One row, number 1. `at` goes on by what went by since `seen_at`, but never far at once."""

    __tablename__ = "lease_clock"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    seen_at: Mapped[datetime]
    at: Mapped[datetime]


class LeaseHolder(Base):
    """An authorizer. `sent` is the number of its last batch, if it numbers them."""

    __tablename__ = "lease_holder"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    heard_at: Mapped[datetime] = mapped_column(index=True)
    sent: Mapped[int | None] = mapped_column(BigInteger)


class RateBucket(Base):
    """What nobody holds of a rate. `id` is "requests:SUBJECT" or "tokens:SUBJECT".

    `filled_at` is the wall's time up to which it was refilled.
    """

    __tablename__ = "rate_bucket"

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    level: Mapped[float] = mapped_column(Double)
    capacity: Mapped[float] = mapped_column(Double)
    filled_at: Mapped[datetime] = mapped_column(index=True)


class RatePiece(Base):
    """What a holder had of a bucket when it was last heard of."""

    __tablename__ = "rate_piece"

    bucket: Mapped[str] = mapped_column(
        ForeignKey("rate_bucket.id", ondelete="CASCADE"), primary_key=True
    )
    holder: Mapped[str] = mapped_column(String(16), primary_key=True)
    held: Mapped[float] = mapped_column(Double)
    heard_at: Mapped[datetime]


class SlotPiece(Base):
    """How many calls of a subject a holder may run at once."""

    __tablename__ = "slot_piece"

    subject: Mapped[str] = mapped_column(String(128), primary_key=True)
    holder: Mapped[str] = mapped_column(String(16), primary_key=True)
    held: Mapped[int] = mapped_column(BigInteger)
    heard_at: Mapped[datetime] = mapped_column(index=True)


class Lease(Base):
    """Money that a holder may let calls of one credential cost, in billionths of the currency.

    What is outstanding is granted - returned - charged. `first_seq` made it and `seq` was its last
    step; the `last_` columns are the reply to that. It ends when it is not heard of any more; what
    calls cost that are reported later is charged all the same.
    """

    __tablename__ = "lease"
    __table_args__ = (
        Index("ix_lease_user_id_living", "user_id", sqlite_where=text("ended_at IS NULL"),
              postgresql_where=text("ended_at IS NULL")),
        Index("ix_lease_expires_at_living", "expires_at", sqlite_where=text("ended_at IS NULL"),
              postgresql_where=text("ended_at IS NULL")),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    holder: Mapped[str] = mapped_column(String(16))
    user_id: Mapped[str] = mapped_column(String(30))
    credential: Mapped[str] = mapped_column(String(64))
    first_seq: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int] = mapped_column(BigInteger)
    last_granted_nano: Mapped[int] = mapped_column(BigInteger)
    last_state: Mapped[str] = mapped_column(String(16))
    last_others_nano: Mapped[int] = mapped_column(BigInteger)
    last_until: Mapped[datetime | None]
    granted_nano: Mapped[int] = mapped_column(BigInteger)
    returned_nano: Mapped[int] = mapped_column(BigInteger)
    charged_nano: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
