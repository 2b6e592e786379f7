"""What waits for a decision, oldest first."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any  # rows of two tables

from sqlalchemy import Row, literal, null, select, tuple_, union_all
from sqlalchemy.orm import Session

from dormouse_control.entitlements.models import Entitlement, EntitlementStatus
from dormouse_control.identity.models import User, UserStatus
from dormouse_control.pages import Cursors

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def pending(
    reading: Session, *, cursors: Cursors, after: str | None, limit: int
) -> tuple[Sequence[Row[Any]], str | None]:
    """And where the next page begins."""
    position = cursors.read(after)
    asked = (
        select(
            literal("entitlement").label("kind"),
            Entitlement.id.label("id"),
            User.id.label("user"),
            User.email.label("email"),
            Entitlement.service.label("service"),
            Entitlement.reason.label("reason"),
            Entitlement.created_at.label("created_at"),
        )
        .join(User, User.id == Entitlement.user_id)
        .where(Entitlement.status == EntitlementStatus.PENDING)
    )
    accounts = select(
        literal("account"), User.id, User.id, User.email, null(), null(), User.created_at
    ).where(User.status == UserStatus.PENDING)
    both = union_all(asked, accounts).subquery()
    wanted = select(both).order_by(both.c.created_at, both.c.id).limit(limit + 1)
    if position is not None:
        wanted = wanted.where(tuple_(both.c.created_at, both.c.id) > _place(position))
    rows = reading.execute(wanted).all()
    return rows[:limit], cursors.write(_position(rows[limit - 1])) if len(rows) > limit else None


def _position(row: Row[Any]) -> str:
    return f"{(row.created_at - _EPOCH) // _MICROSECOND}-{row.id}"


def _place(position: str) -> tuple[datetime, str]:
    # It is one of ours: its MAC was right.
    microseconds, _, id = position.rpartition("-")
    return _EPOCH + timedelta(microseconds=int(microseconds)), id
