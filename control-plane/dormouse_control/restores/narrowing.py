"""What one user has more in an older copy than was left to them is taken away again."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor
from dormouse_control.entitlements.models import Entitlement, EntitlementStatus
from dormouse_control.entitlements.operations import rights
from dormouse_control.errors import PlatformError
from dormouse_control.groups.models import GroupEntitlement, GroupMember
from dormouse_control.identity.models import Role, User, UserStatus
from dormouse_control.leaving import operations as leaving
from dormouse_control.naming import new_id
from dormouse_control.oidc.models import OidcIdentity
from dormouse_control.restores.following import fingerprint
from dormouse_control.restores.journal import Loss
from dormouse_control.sealing import Sealing
from dormouse_control.tiers.models import Tier


def narrow(session: Session, loss: Loss, sealing: Sealing, *, now: datetime) -> bool:
    """Whether the user has more in this copy than was left to them."""
    user = session.get(User, loss.user)
    if user is None or user.status is UserStatus.ERASED:
        return False
    if loss.status == UserStatus.ERASED:
        return _erase(session, user, sealing, now=now)
    account = _narrow_account(session, user, loss)
    session.flush()
    identities = _narrow_identities(session, loss)
    return _narrow_rights(session, loss, now=now) or identities or account


def _erase(session: Session, user: User, sealing: Sealing, *, now: datetime) -> bool:
    try:
        leaving.erase(session, user_id=user.id, sealing=sealing, actor=Actor(), now=now)
    except PlatformError:  # in this copy they are the last administrator
        user.status, user.password_hash = UserStatus.DISABLED, None
        session.flush()
    return True


def _narrow_account(session: Session, user: User, loss: Loss) -> bool:
    before = (user.status, user.role, user.password_hash, user.tier)
    if user.status is UserStatus.ACTIVE and loss.status != UserStatus.ACTIVE:
        user.status = UserStatus(loss.status)
    if user.role.reaches(Role(loss.role)):
        user.role = Role(loss.role)
    if fingerprint(user.password_hash) != loss.password:
        user.password_hash = None  # an old one: who knew it must not get in with it
    if loss.tier is not None and session.get(Tier, loss.tier) is not None:
        user.tier = loss.tier
    return before != (user.status, user.role, user.password_hash, user.tier)


def _narrow_identities(session: Session, loss: Loss) -> bool:
    if loss.identities is None:
        return False
    unlinked = delete(OidcIdentity).where(
        OidcIdentity.user_id == loss.user, OidcIdentity.id.not_in(loss.identities)
    )
    return bool(session.scalars(unlinked.returning(OidcIdentity.id)).all())


def _narrow_rights(session: Session, loss: Loss, *, now: datetime) -> bool:
    """Groups give to all or none, so what is left of what a group gave becomes the user's own."""
    had = rights(session, user_id=loss.user, now=now)
    left = {name: _earlier(end, loss.ends.get(name)) for name, end in had.items()}
    left = {name: end for name, end in left.items() if name in loss.services}
    for service, end in had.items():
        if service not in left or left[service] != end:
            _take(session, loss.user, service)
    kept = rights(session, user_id=loss.user, now=now)
    for service, end in left.items():
        if service not in kept or kept[service] != end:
            _give(session, loss.user, service, end, now=now)
    return left != had


def _earlier(end: datetime | None, noted: str | None) -> datetime | None:
    if noted is None:
        return end
    left = datetime.fromisoformat(noted)
    return left if end is None else min(end, left)


def _take(session: Session, user: str, service: str) -> None:
    session.execute(
        delete(Entitlement).where(Entitlement.user_id == user, Entitlement.service == service)
    )
    groups = select(GroupEntitlement.group_id).where(GroupEntitlement.service == service)
    session.execute(
        delete(GroupMember).where(GroupMember.user_id == user, GroupMember.group_id.in_(groups))
    )


def _give(
    session: Session, user: str, service: str, end: datetime | None, *, now: datetime
) -> None:
    session.execute(
        delete(Entitlement).where(Entitlement.user_id == user, Entitlement.service == service)
    )
    given = Entitlement(
        id=new_id("ent"),
        user_id=user,
        service=service,
        status=EntitlementStatus.ACTIVE,
        created_at=now,
        expires_at=end,
        reason="Left when an older database was put back.",
        decided_at=now,
    )
    session.add(given)
    session.flush()
