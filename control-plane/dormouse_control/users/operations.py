"""Rules of the administration of users: what an administrator may change about whom.

There is always one active administrator, so that nobody is locked out of an installation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.errors import Conflict, InvalidValue, NotFound
from dormouse_control.identity import revocations, sessions
from dormouse_control.identity.models import RevocationKind, Role, User, UserStatus
from dormouse_control.pages import Cursors
from dormouse_control.tiers.models import Tier

_FROM = {
    UserStatus.ACTIVE: (UserStatus.PENDING, UserStatus.UNVERIFIED, UserStatus.DISABLED),
    UserStatus.DISABLED: (UserStatus.ACTIVE,),
}
"""The statuses from which an administrator may bring somebody into this one."""


class Changes(TypedDict, total=False):
    role: Role
    tier: str
    status: UserStatus


@dataclass(frozen=True)
class Filters:
    """`text` is any part of an e-mail address. The erased are listed only by their status."""

    status: UserStatus | None = None
    role: Role | None = None
    tier: str | None = None
    text: str | None = None


def list_users(
    reading: Session, *, filters: Filters, cursors: Cursors, after: str | None, limit: int
) -> tuple[Sequence[User], str | None]:
    """Newest first, and where the next page begins."""
    position = cursors.read(after)
    wanted = select(User).where(*_conditions(filters))
    if position is not None:
        wanted = wanted.where(User.id < position)
    rows = reading.scalars(wanted.order_by(User.id.desc()).limit(limit + 1)).all()
    return rows[:limit], cursors.write(rows[limit - 1].id) if len(rows) > limit else None


def find(reading: Session, user_id: str) -> User:
    """Raises `NotFound`. Also finds who is erased."""
    user = reading.get(User, user_id)
    if user is None:
        raise _no_such()
    return user


def find_living(reading: Session, user_id: str) -> User:
    """Raises `NotFound`, also for who is erased: nothing is left that one could work with."""
    user = find(reading, user_id)
    if user.status is UserStatus.ERASED:
        raise _no_such()
    return user


def change(
    session: Session, *, user_id: str, changes: Changes, actor: Actor, now: datetime
) -> User:
    """Raises `NotFound`, `InvalidValue` or `Conflict`."""
    user, administrators = lock(session, user_id)
    before = (user.role, user.tier, user.status)
    role = changes.get("role", user.role)
    status = changes.get("status", user.status)
    tier = changes.get("tier", user.tier)
    _check(user, role=role, status=status, administrators=administrators, actor=actor)
    if session.get(Tier, tier) is None:
        raise InvalidValue("There is no such tier.", param="tier")
    if (role, tier, status) == before:
        return user
    user.role, user.tier, user.status = role, tier, status
    session.flush()
    cuts = status is not before[2] and status is UserStatus.DISABLED
    if cuts:
        sessions.end_all(session, user_id=user.id, now=now, actor=actor)
    revocations.record(session, RevocationKind.USER, user.id, now=now, cuts=cuts)
    _note(session, user, before=before, actor=actor, now=now)
    return user


def lock(session: Session, user_id: str) -> tuple[User, set[str]]:
    """The user, and the ids of all active administrators; nobody else changes either meanwhile.

    Of administrators who remove each other at once, all but one wait here and then see it.
    """
    governs = and_(User.role == Role.ADMINISTRATOR, User.status == UserStatus.ACTIVE)
    wanted = select(User).where(or_(User.id == user_id, governs)).order_by(User.id)
    # In one order, so that nobody waits in a circle. SQLite has only one writer anyway.
    rows = session.scalars(
        wanted.with_for_update(key_share=True), execution_options={"populate_existing": True}
    ).all()
    user = next((row for row in rows if row.id == user_id), None)
    if user is None or user.status is UserStatus.ERASED:
        raise _no_such()
    return user, {row.id for row in rows if _governs(row.role, row.status)}


def hold(session: Session, user_id: str) -> None:
    """Raises `NotFound`. To the end of the transaction nobody erases the user."""
    wanted = select(User.id).where(User.id == user_id, User.status != UserStatus.ERASED)
    if session.scalar(wanted.with_for_update(read=True, key_share=True)) is None:
        raise _no_such()


def check_not_last(user: User, administrators: set[str]) -> None:
    """Raises `Conflict` if without this user there is no administrator."""
    if administrators == {user.id}:
        raise Conflict("This is the last active administrator. Make another one first.")


def end_sessions(session: Session, *, user_id: str, actor: Actor, now: datetime) -> None:
    """Raises `NotFound`."""
    find_living(session, user_id)
    sessions.end_all(session, user_id=user_id, now=now, actor=actor)


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    found = [User.status == filters.status if filters.status else User.status != UserStatus.ERASED]
    if filters.role is not None:
        found.append(User.role == filters.role)
    if filters.tier is not None:
        found.append(User.tier == filters.tier)
    if filters.text is not None:
        # autoescape: the caller's % and _ mean themselves. Addresses are stored folded.
        found.append(User.email.contains(filters.text.casefold(), autoescape=True))
    return found


def _check(
    user: User, *, role: Role, status: UserStatus, administrators: set[str], actor: Actor
) -> None:
    if (role, status) == (user.role, user.status):
        return
    if not _governs(role, status):
        check_not_last(user, administrators)
    if user.id == actor.id:
        raise Conflict("Nobody changes their own role or status. Ask another administrator.")
    if status is not user.status and user.status not in _FROM[status]:
        raise Conflict(f"A user who is {user.status} cannot become {status}.")


def _governs(role: Role, status: UserStatus) -> bool:
    return role is Role.ADMINISTRATOR and status is UserStatus.ACTIVE


def _note(
    session: Session,
    user: User,
    *,
    before: tuple[Role, str, UserStatus],
    actor: Actor,
    now: datetime,
) -> None:
    after = (user.role, user.tier, user.status)
    named = zip(("role", "tier", "status"), before, after, strict=True)
    details = {name: [str(old), str(new)] for name, old, new in named if old != new}
    record(session, "user.change", actor=actor, subject=user.id, now=now, details=details)


def _no_such() -> NotFound:
    return NotFound("There is no such user.")
