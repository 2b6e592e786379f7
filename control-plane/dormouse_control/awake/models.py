"""Table: how long each predictor was there, so that its idle time can be shared. Only added to."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base


class AwakePeriod(Base):
    """Of one predictor, from the start of its process to its end; `load_ms` until it was ready.

    The rest is about sharing: `idle_ms` among `calls` that computed `computed_ms` together, the
    `usage_entry` rows up to number `last_entry`; those up to `shared_entry` have their shares, and
    `shared_weight` of the whole weight. `shared_at` is when all had; null: they still have to.
    """

    __tablename__ = "awake_period"
    __table_args__ = (Index(None, "shared_at"),)

    instance: Mapped[str] = mapped_column(String(32), primary_key=True)
    service: Mapped[str] = mapped_column(String(64))
    gpus: Mapped[int] = mapped_column(Integer)
    woke: Mapped[datetime]
    ended: Mapped[datetime]
    load_ms: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[datetime]
    idle_ms: Mapped[int | None] = mapped_column(BigInteger)
    calls: Mapped[int | None] = mapped_column(BigInteger)
    computed_ms: Mapped[int | None] = mapped_column(BigInteger)
    last_entry: Mapped[int | None] = mapped_column(BigInteger)
    shared_entry: Mapped[int] = mapped_column(BigInteger)
    shared_weight: Mapped[int] = mapped_column(BigInteger)
    shared_at: Mapped[datetime | None]
