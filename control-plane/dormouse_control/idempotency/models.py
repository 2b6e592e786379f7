"""Table: answers to requests that carried an Idempotency-Key, to be given again."""

from datetime import datetime

from sqlalchemy import JSON, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base


class StoredReply(Base):
    """`owner` is a user's id, or "-" for who has none yet. The body is sealed: it may hold a key.

    `headers` are those that belong to the answer: where what it made is found.
    `digest` is a MAC of the request's body: the same key with another body is a mistake.
    """

    __tablename__ = "stored_reply"

    owner: Mapped[str] = mapped_column(String(30), primary_key=True)
    route: Mapped[str] = mapped_column(String(128), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None] = mapped_column(Integer)
    body_sealed: Mapped[str | None] = mapped_column(Text)
    headers: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(index=True)
