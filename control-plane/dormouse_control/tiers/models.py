"""Table: kinds of users. A tier carries limits, and how urgent its users may be."""

from datetime import datetime

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base


class Tier(Base):
    """0 is the most urgent priority. Null: the platform's setting, or none (budget).

    `monthly_budget_nano` is in billionths of the currency.
    """

    __tablename__ = "tier"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    title: Mapped[str] = mapped_column(String(100))
    highest_priority: Mapped[int] = mapped_column(Integer)
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    tokens_per_minute: Mapped[int | None] = mapped_column(Integer)
    concurrent_calls: Mapped[int | None] = mapped_column(Integer)
    queued_calls: Mapped[int | None] = mapped_column(Integer)
    max_body_mb: Mapped[int | None] = mapped_column(Integer)
    most_keys: Mapped[int] = mapped_column(Integer)
    monthly_budget_nano: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
