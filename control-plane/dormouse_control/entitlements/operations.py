"""Rules of entitlements: who may call which service, and what users ask for themselves.

Every change of a right is a revocation of the user, because authorizers remember what a user may
call. What others decide is in `decisions.py`.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from dormouse.catalog import Service
from dormouse_control.audit.record import Actor, record
from dormouse_control.db import insert_new
from dormouse_control.entitlements.models import Entitlement, EntitlementStatus
from dormouse_control.entitlements.schemas import EntitlementRead, Standing
from dormouse_control.errors import Conflict, NotFound
from dormouse_control.groups.models import Group, GroupEntitlement, GroupMember
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind
from dormouse_control.naming import new_id


def entitle(
    session: Session,
    *,
    user_id: str,
    service: Service,
    reason: str | None,
    actor: Actor,
    now: datetime,
) -> tuple[Entitlement, bool]:
    """The user's entitlement, and whether it is new. Asking twice, also at once, gives one.

    What was refused or has expired begins anew.
    """
    open_to_all = service.spec.access == "open"
    status = EntitlementStatus.ACTIVE if open_to_all else EntitlementStatus.PENDING
    asked = {"status": status, "created_at": now, "reason": reason}
    row = {"id": new_id("ent"), "user_id": user_id, "service": service.id, **asked}
    unique = (Entitlement.user_id, Entitlement.service)
    new = insert_new(session, Entitlement, [row], unique=unique, returning=Entitlement.id)
    if not new:
        again = update(Entitlement).where(_own(user_id, service.id), _is_over(open_to_all, now))
        blank = {"expires_at": None, "decided_by": None, "decided_at": None}
        new = set(session.scalars(again.values(**asked, **blank).returning(Entitlement.id)))
    if new:
        details = {"service": service.id, "status": status.value}
        record(session, "entitlement.ask", actor=actor, subject=user_id, now=now, details=details)
        if open_to_all:
            revocations.record(session, RevocationKind.USER, user_id, now=now)
    wanted = select(Entitlement).where(_own(user_id, service.id))
    found = session.scalar(wanted.execution_options(populate_existing=True))
    if found is None:
        raise Conflict("This entitlement was taken away at this moment. Ask again.")
    return found, bool(new)


def list_entitlements(reading: Session, *, user_id: str, now: datetime) -> list[EntitlementRead]:
    """By service, own ones first. There are never more than services and groups."""
    own = select(Entitlement).where(Entitlement.user_id == user_id)
    by_groups = (
        select(GroupEntitlement, Group.name)
        .join(Group, Group.id == GroupEntitlement.group_id)
        .join(GroupMember, GroupMember.group_id == Group.id)
        .where(GroupMember.user_id == user_id)
    )
    found = [read(row, now=now) for row in reading.scalars(own)]
    found += [_read_group(row, name, now=now) for row, name in reading.execute(by_groups)]
    return sorted(found, key=lambda each: (each.service, each.by == "group", each.group or ""))


def rights(reading: Session, *, user_id: str, now: datetime) -> dict[str, datetime | None]:
    """The services that the user may call now, by themselves or a group, and until when.

    None: without end. Of several ends the latest counts.
    """
    own = select(Entitlement.service, Entitlement.expires_at).where(
        Entitlement.user_id == user_id, Entitlement.status == EntitlementStatus.ACTIVE
    )
    by_groups = (
        select(GroupEntitlement.service, GroupEntitlement.expires_at)
        .join(GroupMember, GroupMember.group_id == GroupEntitlement.group_id)
        .where(GroupMember.user_id == user_id)
    )
    found: dict[str, datetime | None] = {}
    for service, end in [*reading.execute(own), *reading.execute(by_groups)]:
        if end is not None and end <= now:
            continue
        known = found.get(service, end)
        found[service] = None if known is None or end is None else max(known, end)
    return found


def give_up(session: Session, *, user_id: str, service: str, actor: Actor, now: datetime) -> None:
    """Raises `NotFound` if there is nothing to give up, `Conflict` if it comes from a group."""
    if not remove(session, user_id=user_id, service=service):
        raise _not_own(session, user_id=user_id, service=service)
    details = {"service": service}
    record(session, "entitlement.give_up", actor=actor, subject=user_id, now=now, details=details)
    announce_loss(session, user_id=user_id, services=[service], now=now)


def remove(session: Session, *, user_id: str, service: str) -> bool:
    """Whether there was one."""
    gone = delete(Entitlement).where(_own(user_id, service)).returning(Entitlement.id)
    return session.scalar(gone) is not None


def announce_loss(
    session: Session, *, user_id: str, services: Sequence[str], now: datetime
) -> None:
    """After the change. Calls that run are cut only where no other right is left."""
    left = rights(session, user_id=user_id, now=now)
    for service in services:
        revocations.record(
            session,
            RevocationKind.USER,
            user_id,
            now=now,
            service=service,
            cuts=service not in left,
        )


def standing(status: EntitlementStatus, expires_at: datetime | None, *, now: datetime) -> Standing:
    if status is EntitlementStatus.ACTIVE and expires_at is not None and expires_at <= now:
        return "expired"
    return status.value


def read(row: Entitlement, *, now: datetime) -> EntitlementRead:
    return EntitlementRead(
        service=row.service,
        status=standing(row.status, row.expires_at, now=now),
        by="own",
        group=None,
        created_at=row.created_at,
        expires_at=row.expires_at,
        reason=row.reason,
    )


def _read_group(row: GroupEntitlement, group: str, *, now: datetime) -> EntitlementRead:
    return EntitlementRead(
        service=row.service,
        status=standing(EntitlementStatus.ACTIVE, row.expires_at, now=now),
        by="group",
        group=group,
        created_at=row.created_at,
        expires_at=row.expires_at,
        reason=row.reason,
    )


def _own(user_id: str, service: str) -> ColumnElement[bool]:
    return and_(Entitlement.user_id == user_id, Entitlement.service == service)


def _is_over(open_to_all: bool, now: datetime) -> ColumnElement[bool]:
    """Whether asking may begin anew; also what waits for nobody any more."""
    expired = and_(Entitlement.status == EntitlementStatus.ACTIVE, Entitlement.expires_at <= now)
    over = or_(Entitlement.status == EntitlementStatus.REFUSED, expired)
    return or_(over, Entitlement.status == EntitlementStatus.PENDING) if open_to_all else over


def _not_own(session: Session, *, user_id: str, service: str) -> Conflict | NotFound:
    by_group = (
        select(Group.name)
        .join(GroupEntitlement, GroupEntitlement.group_id == Group.id)
        .join(GroupMember, GroupMember.group_id == Group.id)
        .where(GroupMember.user_id == user_id, GroupEntitlement.service == service)
    )
    group = session.scalar(by_group.order_by(Group.name).limit(1))
    if group is None:
        return NotFound("You are not entitled to such a service.")
    return Conflict(f"You have this by the group {group!r}, and cannot give it up alone.")
