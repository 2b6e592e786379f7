"""Tables: what every call took and cost, and reports that could not be read. Only ever added to."""

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base

_Id = BigInteger().with_variant(Integer, "sqlite")
_NONE = text("0")


class UsageEntry(Base):
    """One call. `cost_nano` is in billionths of the platform's currency, by the list `prices_id`.

    What it is a sum of is in `dormouse.events.UsageEvent`; `loads` is 1 if a model was loaded for
    it. `tags` are the key's and the request's. `idle_ms` is its share of the time that its
    predictor was there for nobody, once that is known. Where a column is null because the call is
    older than the column, so is `prices_id`.
    """

    __tablename__ = "usage_entry"
    __table_args__ = (
        Index(None, "user_id", "time", "id"),
        Index(None, "user_id", "service", "time"),
        Index(None, "predictor", "id"),
        Index(None, "time", "id"),
    )

    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=True)
    request_id: Mapped[str] = mapped_column(String(128), unique=True)
    time: Mapped[datetime]
    user_id: Mapped[str] = mapped_column(ForeignKey("user.id"))
    credential: Mapped[str] = mapped_column(String(64))
    service: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(128))
    version: Mapped[str | None] = mapped_column(String(128))
    endpoint: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(String(16))
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    duration_ms: Mapped[int] = mapped_column(BigInteger)
    queue_ms: Mapped[int] = mapped_column(BigInteger)
    load_ms: Mapped[int] = mapped_column(BigInteger)
    cold_start_ms: Mapped[int] = mapped_column(BigInteger)
    end_user: Mapped[str | None] = mapped_column(String(512))
    cost_nano: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[datetime]
    compute_ms: Mapped[int] = mapped_column(BigInteger, server_default=_NONE)
    gpus: Mapped[int] = mapped_column(BigInteger, server_default=_NONE)
    audio_ms: Mapped[int] = mapped_column(BigInteger, server_default=_NONE)
    images: Mapped[int] = mapped_column(BigInteger, server_default=_NONE)
    loads: Mapped[int] = mapped_column(BigInteger, server_default=_NONE)
    lease_id: Mapped[str | None] = mapped_column(String(64))
    predictor: Mapped[str | None] = mapped_column(String(64))
    estimated: Mapped[bool] = mapped_column(
        Boolean(create_constraint=False), server_default=text("false")
    )
    tags: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    idle_ms: Mapped[int | None] = mapped_column(BigInteger)
    prices_id: Mapped[str | None] = mapped_column(String(16))


class RejectedEvent(Base):
    """A report that could not be booked, kept as it came so that nobody's call is lost."""

    __tablename__ = "rejected_event"

    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    reason: Mapped[str] = mapped_column(String(500))
    document: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime]
