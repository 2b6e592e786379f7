"""Who has access to what, why, and whether they use it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any  # rows of several tables

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    case,
    func,
    literal,
    null,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session

from dormouse.catalog import Catalog
from dormouse_control.access.schemas import AccessRead
from dormouse_control.catalog.operations import View
from dormouse_control.entitlements.models import Entitlement, EntitlementStatus
from dormouse_control.groups.models import Group, GroupEntitlement, GroupMember
from dormouse_control.identity import apikeys
from dormouse_control.identity.models import ApiKey, User, UserStatus
from dormouse_control.pages import Cursors
from dormouse_control.usage.models import UsageEntry

_AT_ONCE = 500


@dataclass(frozen=True)
class Review:
    """What is looked for. `unused_days`: not used in the last so many days, or never."""

    catalog: Catalog
    now: datetime
    user: str | None = None
    service: str | None = None
    unused_days: int | None = None


def page(
    reading: Session, review: Review, *, cursors: Cursors, after: str | None, limit: int
) -> tuple[list[AccessRead], str | None]:
    """By user, the longest known first; and where the next page begins."""
    rows = _rows(reading, review, position=cursors.read(after), limit=limit + 1)
    following = cursors.write(_position(rows[limit - 1])) if len(rows) > limit else None
    return _read(reading, review, rows[:limit]), following


def everything(reading: Session, review: Review) -> Iterator[AccessRead]:
    """All pages, of which only one is in memory."""
    position = None
    while rows := _rows(reading, review, position=position, limit=_AT_ONCE):
        yield from _read(reading, review, rows)
        position = _position(rows[-1])


def _rows(
    reading: Session, review: Review, *, position: str | None, limit: int
) -> Sequence[Row[Any]]:
    found = union_all(_by_groups(review.now), _own(review.now)).subquery()
    last_used = (
        select(UsageEntry.time)
        .where(UsageEntry.user_id == found.c.user, UsageEntry.service == found.c.service)
        .order_by(UsageEntry.time.desc())
        .limit(1)
        .scalar_subquery()
    )
    wanted = select(found, last_used.label("last_used_at"))
    if position is not None:
        user, _, grant = position.partition("-")
        wanted = wanted.where(tuple_(found.c.user, found.c.grant) > (user, grant))
    if review.user is not None:
        wanted = wanted.where(found.c.user == review.user)
    if review.service is not None:
        wanted = wanted.where(found.c.service == review.service)
    if review.unused_days is not None:
        since = review.now - timedelta(days=review.unused_days)
        wanted = wanted.where(or_(last_used.is_(None), last_used < since))
    return reading.execute(wanted.order_by(found.c.user, found.c.grant).limit(limit)).all()


def _by_groups(now: datetime) -> Select[Any]:
    later = GroupMember.added_at > GroupEntitlement.created_at
    return (
        select(
            *_person(),
            GroupEntitlement.id.label("grant"),
            GroupEntitlement.service.label("service"),
            Group.name.label("through"),
            Group.id.label("group"),
            GroupEntitlement.expires_at.label("expires_at"),
            GroupEntitlement.granted_by.label("granted_by"),
            case((later, GroupMember.added_at), else_=GroupEntitlement.created_at).label(
                "granted_at"
            ),
            GroupEntitlement.reason.label("reason"),
        )
        .join(GroupMember, GroupMember.user_id == User.id)
        .join(Group, Group.id == GroupMember.group_id)
        .join(GroupEntitlement, GroupEntitlement.group_id == Group.id)
        .where(_lasts(GroupEntitlement.expires_at, now))
    )


def _own(now: datetime) -> Select[Any]:
    return (
        select(
            *_person(),
            Entitlement.id,
            Entitlement.service,
            literal("own"),
            null(),
            Entitlement.expires_at,
            Entitlement.decided_by,
            func.coalesce(Entitlement.decided_at, Entitlement.created_at),
            Entitlement.reason,
        )
        .join(Entitlement, Entitlement.user_id == User.id)
        .where(Entitlement.status == EntitlementStatus.ACTIVE)
        .where(_lasts(Entitlement.expires_at, now))
    )


def _person() -> list[ColumnElement[Any]]:
    return [
        User.id.label("user"),
        User.email.label("email"),
        User.role.label("role"),
        User.tier.label("tier"),
        User.status.label("status"),
    ]


def _lasts(expires_at: Any, now: datetime) -> ColumnElement[bool]:
    return or_(expires_at.is_(None), expires_at > now)


def _position(row: Row[Any]) -> str:
    return f"{row.user}-{row.grant}"


def _read(reading: Session, review: Review, rows: Sequence[Row[Any]]) -> list[AccessRead]:
    keys = _keys(reading, {row.user for row in rows}, now=review.now)
    return [
        AccessRead.model_validate(
            {**row._mapping, "keys": _count(keys[row.user], row, catalog=review.catalog)}
        )
        for row in rows
    ]


def _keys(reading: Session, users: set[str], *, now: datetime) -> dict[str, list[ApiKey]]:
    good = (ApiKey.revoked_at.is_(None), _lasts(ApiKey.expires_at, now))
    found: dict[str, list[ApiKey]] = defaultdict(list)
    for key in reading.scalars(select(ApiKey).where(ApiKey.user_id.in_(sorted(users)), *good)):
        found[key.user_id].append(key)
    return found


def _count(keys: Sequence[ApiKey], row: Row[Any], *, catalog: Catalog) -> int:
    service = catalog.services.get(row.service)
    if service is None or row.status is not UserStatus.ACTIVE:
        return 0
    views = (View({row.service}, apikeys.reach_of(key)) for key in keys)
    return sum(view.shows(service) for view in views)
