"""Rules of restores: an older copy of the database revives nothing that was taken away since.

Every session and every one-time secret ends, because which of them were used since is not known.
Keys, rights, roles, accounts and passwords are narrowed to what the journal says was left.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.entitlements.models import Entitlement
from dormouse_control.entitlements.operations import rights
from dormouse_control.errors import PlatformError
from dormouse_control.groups.models import GroupEntitlement, GroupMember
from dormouse_control.identity.models import (
    ApiKey,
    Revocation,
    RevocationKind,
    Role,
    User,
    UserSession,
    UserStatus,
)
from dormouse_control.invitations.models import Invitation
from dormouse_control.leaving import operations as leaving
from dormouse_control.proofs.models import OneTimeToken, RecoveryCode
from dormouse_control.restores.following import fingerprint
from dormouse_control.restores.journal import Journal, Loss, Marks
from dormouse_control.restores.models import Epoch
from dormouse_control.sealing import Sealing


@dataclass(frozen=True)
class Restored:
    """What had to be narrowed; for the audit log."""

    sessions: int
    users: list[str]
    keys: list[str]


def is_older(session: Session, marks: Marks) -> bool:
    """Whether the database has not come as far as it is known to have been."""
    return _writes(session) < marks.writes


def settle(session: Session, journal: Journal, *, sealing: Sealing, now: datetime) -> Restored:
    """Make an older copy safe, in one transaction; doing it again does no harm."""
    marks = journal.marks()
    losses = journal.losses(after=_writes(session))
    keys = _revoke_keys(session, losses, now=now)
    _spend_codes(session, losses, now=now)
    last = {loss.user: loss for loss in losses}
    users = [user for user, loss in last.items() if _narrow(session, loss, sealing, now=now)]
    sessions = _end_all(session, now=now)
    _move_on(session, marks, now=now)
    found = Restored(sessions=sessions, users=users, keys=keys)
    record(
        session,
        "database.restore",
        actor=Actor(),
        subject=None,
        now=now,
        details={"sessions": sessions, "users": users, "keys": keys},
    )
    return found


def _writes(session: Session) -> int:
    return session.scalar(select(Epoch.writes)) or 0


def _revoke_keys(session: Session, losses: list[Loss], *, now: datetime) -> list[str]:
    named = {loss.key for loss in losses if loss.key is not None}
    wanted = (ApiKey.id.in_(named), ApiKey.revoked_at.is_(None))
    revoked = update(ApiKey).where(*wanted).values(revoked_at=now).returning(ApiKey.id)
    return sorted(session.scalars(revoked)) if named else []


def _spend_codes(session: Session, losses: list[Loss], *, now: datetime) -> None:
    named = {loss.code for loss in losses if loss.code is not None}
    unused = (RecoveryCode.id.in_(named), RecoveryCode.used_at.is_(None))
    session.execute(update(RecoveryCode).where(*unused).values(used_at=now))


def _narrow(session: Session, loss: Loss, sealing: Sealing, *, now: datetime) -> bool:
    """Whether the user has more in this copy than was left to them."""
    user = session.get(User, loss.user)
    if user is None or user.status is UserStatus.ERASED:
        return False
    if loss.status == UserStatus.ERASED:
        return _erase(session, user, sealing, now=now)
    changed = _narrow_account(user, loss)
    session.flush()
    for service in set(rights(session, user_id=user.id, now=now)) - set(loss.services):
        _take(session, user.id, service)
        changed = True
    return changed


def _erase(session: Session, user: User, sealing: Sealing, *, now: datetime) -> bool:
    try:
        leaving.erase(session, user_id=user.id, sealing=sealing, actor=Actor(), now=now)
    except PlatformError:  # in this copy they are the last administrator
        user.status, user.password_hash = UserStatus.DISABLED, None
        session.flush()
    return True


def _narrow_account(user: User, loss: Loss) -> bool:
    before = (user.status, user.role, user.password_hash)
    if user.status is UserStatus.ACTIVE and loss.status != UserStatus.ACTIVE:
        user.status = UserStatus(loss.status)
    if user.role.reaches(Role(loss.role)):
        user.role = Role(loss.role)
    if fingerprint(user.password_hash) != loss.password:
        user.password_hash = None  # an old one: who knew it must not get in with it
    return before != (user.status, user.role, user.password_hash)


def _take(session: Session, user: str, service: str) -> None:
    session.execute(
        delete(Entitlement).where(Entitlement.user_id == user, Entitlement.service == service)
    )
    groups = select(GroupEntitlement.group_id).where(GroupEntitlement.service == service)
    session.execute(
        delete(GroupMember).where(GroupMember.user_id == user, GroupMember.group_id.in_(groups))
    )


def _end_all(session: Session, *, now: datetime) -> int:
    """Sessions, one-time secrets and invitations. How many sessions."""
    unused = OneTimeToken.used_at.is_(None)
    session.execute(update(OneTimeToken).where(unused).values(used_at=now))
    open_ones = (Invitation.used_at.is_(None), Invitation.revoked_at.is_(None))
    session.execute(update(Invitation).where(*open_ones).values(revoked_at=now))
    living = update(UserSession).where(UserSession.revoked_at.is_(None)).values(revoked_at=now)
    return len(session.scalars(living.returning(UserSession.id)).all())


def _move_on(session: Session, marks: Marks, *, now: datetime) -> None:
    """Numbers go on after those that were given, and who follows revocations must begin anew."""
    last = max(session.scalar(select(func.max(Revocation.seq))) or 0, marks.revocation)
    session.execute(delete(Revocation))
    # One number is left out: whoever had come to the last must see that something is missing.
    anew = Revocation(
        seq=last + 2, kind=RevocationKind.USER, subject="usr_", created_at=now, cuts=False
    )
    session.add(anew)
    session.flush()
    if session.get_bind().dialect.name == "postgresql":
        sequence = "pg_get_serial_sequence('revocation', 'seq')"
        session.execute(text(f"SELECT setval({sequence}, :last)"), {"last": anew.seq})
    writes = max(_writes(session), marks.writes)
    session.execute(update(Epoch).where(Epoch.id == 1).values(writes=writes))
