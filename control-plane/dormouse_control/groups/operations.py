"""Rules of groups: their names and members, and what all members may call."""

from datetime import datetime
from typing import Any  # rows with counts

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.budgets import ending as budgets
from dormouse_control.db import insert_new
from dormouse_control.entitlements.operations import announce_loss
from dormouse_control.errors import AlreadyExists, NotFound
from dormouse_control.groups.models import Group, GroupEntitlement, GroupMember
from dormouse_control.groups.schemas import GroupDetail, GroupEntitlementRead, GroupRead, MemberRead
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind, User
from dormouse_control.naming import new_id
from dormouse_control.pages import Cursors
from dormouse_control.users import operations as users


def create(session: Session, *, name: str, actor: Actor, now: datetime) -> GroupDetail:
    """Raises `AlreadyExists`."""
    row = {"id": new_id("grp"), "name": name, "created_at": now}
    new = insert_new(session, Group, [row], unique=(Group.name,), returning=Group.id)
    if not new:
        raise _taken()
    (group_id,) = new
    record(session, "group.create", actor=actor, subject=group_id, now=now)
    return detail(session, group_id)


def list_groups(
    reading: Session, *, cursors: Cursors, after: str | None, limit: int
) -> tuple[list[GroupRead], str | None]:
    """Oldest first, and where the next page begins."""
    wanted = _counted()
    position = cursors.read(after)
    if position is not None:
        wanted = wanted.where(Group.id > position)
    rows = reading.execute(wanted.order_by(Group.id).limit(limit + 1)).all()
    following = cursors.write(rows[limit - 1].id) if len(rows) > limit else None
    return [GroupRead.model_validate(row) for row in rows[:limit]], following


def detail(reading: Session, group_id: str) -> GroupDetail:
    """Raises `NotFound`."""
    row = reading.execute(_counted().where(Group.id == group_id)).one_or_none()
    if row is None:
        raise _no_such()
    given = select(GroupEntitlement).where(GroupEntitlement.group_id == group_id)
    granted = reading.scalars(given.order_by(GroupEntitlement.service)).all()
    read = [GroupEntitlementRead.model_validate(each) for each in granted]
    return GroupDetail(**GroupRead.model_validate(row).model_dump(), entitlements=read)


def rename(
    session: Session, *, group_id: str, name: str, actor: Actor, now: datetime
) -> GroupDetail:
    """Raises `NotFound` or `AlreadyExists`."""
    wanted = update(Group).where(Group.id == group_id).values(name=name).returning(Group.id)
    try:
        changed = session.scalar(wanted)
    except IntegrityError as error:
        raise _taken() from error
    if changed is None:
        raise _no_such()
    record(session, "group.rename", actor=actor, subject=group_id, now=now)
    return detail(session, group_id)


def remove(session: Session, *, group_id: str, actor: Actor, now: datetime) -> None:
    """Its members lose what they had by it. Raises `NotFound`."""
    hold(session, group_id, alone=True)
    gone = delete(GroupMember).where(GroupMember.group_id == group_id)
    members = session.scalars(gone.returning(GroupMember.user_id)).all()
    taken = delete(GroupEntitlement).where(GroupEntitlement.group_id == group_id)
    services = session.scalars(taken.returning(GroupEntitlement.service)).all()
    budgets.forget(session, [group_id])
    session.execute(delete(Group).where(Group.id == group_id))
    details = {"members": sorted(members), "services": sorted(services)}
    record(session, "group.delete", actor=actor, subject=group_id, now=now, details=details)
    for member in sorted(members):
        announce_loss(session, user_id=member, services=sorted(services), now=now)


def list_members(
    reading: Session, *, group_id: str, cursors: Cursors, after: str | None, limit: int
) -> tuple[list[MemberRead], str | None]:
    """By id, and where the next page begins. Raises `NotFound`."""
    if reading.get(Group, group_id) is None:
        raise _no_such()
    wanted = (
        select(
            GroupMember.user_id.label("user"),
            User.email,
            GroupMember.added_by,
            GroupMember.added_at,
        )
        .join(User, User.id == GroupMember.user_id)
        .where(GroupMember.group_id == group_id)
    )
    position = cursors.read(after)
    if position is not None:
        wanted = wanted.where(GroupMember.user_id > position)
    rows = reading.execute(wanted.order_by(GroupMember.user_id).limit(limit + 1)).all()
    following = cursors.write(rows[limit - 1].user) if len(rows) > limit else None
    return [MemberRead.model_validate(row) for row in rows[:limit]], following


def add_member(
    session: Session, *, group_id: str, user_id: str, actor: Actor, now: datetime
) -> None:
    """Does nothing if they are one. Raises `NotFound`."""
    hold(session, group_id)
    users.hold(session, user_id)
    row = {"group_id": group_id, "user_id": user_id, "added_by": actor.id, "added_at": now}
    unique = (GroupMember.group_id, GroupMember.user_id)
    if insert_new(session, GroupMember, [row], unique=unique, returning=GroupMember.user_id):
        details = {"user": user_id}
        record(session, "group.add_member", actor=actor, subject=group_id, now=now, details=details)
        revocations.record(session, RevocationKind.USER, user_id, now=now)


def remove_member(
    session: Session, *, group_id: str, user_id: str, actor: Actor, now: datetime
) -> None:
    """Raises `NotFound` if they are none."""
    hold(session, group_id)
    wanted = (GroupMember.group_id == group_id, GroupMember.user_id == user_id)
    gone = delete(GroupMember).where(*wanted).returning(GroupMember.user_id)
    if session.scalar(gone) is None:
        raise NotFound("This group has no such member.")
    details = {"user": user_id}
    record(session, "group.remove_member", actor=actor, subject=group_id, now=now, details=details)
    given = select(GroupEntitlement.service).where(GroupEntitlement.group_id == group_id)
    services = session.scalars(given.order_by(GroupEntitlement.service)).all()
    announce_loss(session, user_id=user_id, services=services, now=now)


def hold(session: Session, group_id: str, *, alone: bool = False) -> None:
    """Raises `NotFound`. To the end of the transaction nobody deletes the group; with `alone`
    nobody else does anything with it.
    """
    wanted = select(Group.id).where(Group.id == group_id)
    locked = wanted.with_for_update() if alone else wanted.with_for_update(read=True)
    if session.scalar(locked) is None:
        raise _no_such()


def _counted() -> Select[Any]:
    members = select(func.count()).where(GroupMember.group_id == Group.id)
    services = select(func.count()).where(GroupEntitlement.group_id == Group.id)
    return select(
        Group.id,
        Group.name,
        Group.created_at,
        members.correlate(Group).scalar_subquery().label("members"),
        services.correlate(Group).scalar_subquery().label("services"),
    )


def _taken() -> AlreadyExists:
    return AlreadyExists("There is a group with this name.", param="name")


def _no_such() -> NotFound:
    return NotFound("There is no such group.")
