"""What all members of a group may call."""

from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.db import insert_new
from dormouse_control.entitlements.decisions import check_end
from dormouse_control.entitlements.operations import announce_loss
from dormouse_control.errors import NotFound
from dormouse_control.groups.models import GroupEntitlement, GroupMember
from dormouse_control.groups.operations import hold
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind
from dormouse_control.naming import new_id


def grant(
    session: Session,
    *,
    group_id: str,
    service: str,
    expires_at: datetime | None,
    reason: str | None,
    actor: Actor,
    now: datetime,
) -> GroupEntitlement:
    """Anew, or changed. Raises `NotFound` or `InvalidValue`."""
    check_end(expires_at, now=now)
    hold(session, group_id, alone=True)
    given = {"expires_at": expires_at, "reason": reason, "granted_by": actor.id}
    row = {
        "id": new_id("ent"),
        "group_id": group_id,
        "service": service,
        "created_at": now,
        **given,
    }
    unique = (GroupEntitlement.group_id, GroupEntitlement.service)
    insert_new(session, GroupEntitlement, [row], unique=unique, returning=GroupEntitlement.id)
    here = (GroupEntitlement.group_id == group_id, GroupEntitlement.service == service)
    changed = update(GroupEntitlement).where(*here).values(**given).returning(GroupEntitlement)
    found = session.scalars(changed, execution_options={"populate_existing": True}).one()
    details = {"service": service, "expires_at": expires_at.isoformat() if expires_at else None}
    record(session, "group.grant", actor=actor, subject=group_id, now=now, details=details)
    revocations.record_all(session, RevocationKind.USER, _members(session, group_id), now=now)
    return found


def take_away(
    session: Session, *, group_id: str, service: str, actor: Actor, now: datetime
) -> None:
    """Raises `NotFound` if the group has none."""
    hold(session, group_id, alone=True)
    here = (GroupEntitlement.group_id == group_id, GroupEntitlement.service == service)
    gone = delete(GroupEntitlement).where(*here).returning(GroupEntitlement.id)
    if session.scalar(gone) is None:
        raise NotFound("This group has no such entitlement.")
    details = {"service": service}
    record(session, "group.take_away", actor=actor, subject=group_id, now=now, details=details)
    for member in _members(session, group_id):
        announce_loss(session, user_id=member, services=[service], now=now)


def _members(session: Session, group_id: str) -> list[str]:
    wanted = select(GroupMember.user_id).where(GroupMember.group_id == group_id)
    return list(session.scalars(wanted.order_by(GroupMember.user_id)))
