"""Table: invitations to register. The secret in the link is a MAC of the id and stored nowhere."""

from datetime import datetime

from sqlalchemy import JSON, Boolean, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from dormouse_control.db import Base


class Invitation(Base):
    """Good for one registration; with `email`, for that address only.

    `mailed`: the secret went to that address and to nobody else, so who has it reads mail there.
    """

    __tablename__ = "invitation"

    id: Mapped[str] = mapped_column(String(30), primary_key=True)
    email: Mapped[str | None] = mapped_column(String(254))
    mailed: Mapped[bool] = mapped_column(Boolean(create_constraint=False))
    tier: Mapped[str] = mapped_column(ForeignKey("tier.id"))
    groups: Mapped[list[str]] = mapped_column(JSON)
    created_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    used_by: Mapped[str | None] = mapped_column(ForeignKey("user.id"))
