"""Erasing a user: what is left is an id, and what accounting needs under it.

The id is never given again, so who registers the same address later is somebody else.
"""

from datetime import datetime

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.budgets import ending as budgets
from dormouse_control.entitlements.models import Entitlement
from dormouse_control.errors import Conflict
from dormouse_control.groups.models import GroupMember
from dormouse_control.idempotency.models import StoredReply
from dormouse_control.identity import revocations
from dormouse_control.identity.models import (
    ApiKey,
    RevocationKind,
    Role,
    User,
    UserSession,
    UserStatus,
)
from dormouse_control.identity.operations import FIRST_TIER, Caller
from dormouse_control.invitations.models import Invitation
from dormouse_control.leases import ending
from dormouse_control.ledger import spending
from dormouse_control.mail.models import Mail
from dormouse_control.oidc.models import OidcFlow, OidcIdentity
from dormouse_control.proofs import attempts, checks, second_factor
from dormouse_control.proofs.attempts import Attempt
from dormouse_control.proofs.checks import Checked
from dormouse_control.proofs.models import OneTimeToken, RecoveryCode
from dormouse_control.requests.models import AsyncRequest
from dormouse_control.sealing import Sealing
from dormouse_control.usage.models import RejectedEvent, UsageEntry
from dormouse_control.usage.operations import NOBODYS
from dormouse_control.users import operations as users
from dormouse_control.webhooks.models import WebhookSecret
from dormouse_control.wiring import Platform

_OWNED = (
    UserSession,
    ApiKey,
    Entitlement,
    GroupMember,
    OneTimeToken,
    RecoveryCode,
    OidcFlow,
    OidcIdentity,
    AsyncRequest,  # and with it bodies and webhooks
    WebhookSecret,
)
"""Tables whose rows of a user go with them."""


def erase_other(
    session: Session, *, user_id: str, sealing: Sealing, actor: Actor, now: datetime
) -> None:
    """Raises `NotFound` or `Conflict`."""
    if user_id == actor.id:
        raise Conflict("POST /api/v1/me/erase erases yourself.")
    erase(session, user_id=user_id, sealing=sealing, actor=actor, now=now)


def erase_self(
    platform: Platform,
    caller: Caller,
    *,
    password: str | None,
    code: str | None,
    actor: Actor,
) -> None:
    """Only the owner, and not whoever found their session: raises what signing in raises."""
    with platform.database.reads() as reading:
        has_password = reading.get_one(User, caller.id).password_hash is not None
    email, address = caller.email, actor.address
    if has_password:
        proof: Checked | Attempt = checks.check_password(
            platform, email=email, password=password or "", address=address
        )
    else:
        proof = checks.count(platform, email=email, address=address)
    sealing, now = platform.sealing, platform.clock()
    with platform.database.sessions.begin() as session:
        # Before `accept`, because this locks users in the order that all keep.
        user, _ = users.lock(session, caller.id)
        if isinstance(proof, Checked):
            checks.accept(session, proof, now=now)
        if second_factor.is_on(user):
            second_factor.demand(session, user, code, sealing=sealing, now=now)
        erase(session, user_id=user.id, sealing=sealing, actor=actor, now=now)


def erase(session: Session, *, user_id: str, sealing: Sealing, actor: Actor, now: datetime) -> None:
    """Raises `NotFound`, or `Conflict` for the last administrator."""
    user, administrators = users.lock(session, user_id)
    users.check_not_last(user, administrators)
    email = _clear(session, user)
    keys = session.scalars(select(ApiKey.id).where(ApiKey.user_id == user_id)).all()
    budgets.forget(session, [user_id, *keys])
    ending.end_of_user(session, user_id, credential=NOBODYS, now=now)
    spending.forget(session, keys)
    for table in _OWNED:
        session.execute(delete(table).where(table.user_id == user_id))
    session.execute(delete(StoredReply).where(StoredReply.owner == user_id))
    if email is not None:
        _forget_address(session, email, sealing=sealing, now=now)
    session.execute(delete(Mail).where(Mail.user_id == user_id))
    _pseudonymise(session, user_id)
    revocations.record(session, RevocationKind.USER, user_id, now=now, cuts=True)
    record(session, "user.erase", actor=actor, subject=user_id, now=now)


def _clear(session: Session, user: User) -> str | None:
    """The address that the user had. First of all, so that whoever adds something waits."""
    email = user.email
    user.email = user.password_hash = user.email_verified_at = None
    user.totp_sealed = user.totp_confirmed_at = user.totp_last_step = None
    user.status, user.role, user.tier = UserStatus.ERASED, Role.USER, FIRST_TIER
    session.flush()
    return email


def _forget_address(session: Session, email: str, *, sealing: Sealing, now: datetime) -> None:
    session.execute(delete(Mail).where(Mail.address == email))
    attempts.clear(session, email=email, sealing=sealing)
    # Without its address an invitation would be good for anybody.
    open_ones = (Invitation.email == email, Invitation.used_at.is_(None))
    session.execute(
        update(Invitation).where(*open_ones, Invitation.revoked_at.is_(None)).values(revoked_at=now)
    )
    session.execute(update(Invitation).where(Invitation.email == email).values(email=None))


def _pseudonymise(session: Session, user_id: str) -> None:
    mine = UsageEntry.user_id == user_id
    personal = or_(
        UsageEntry.end_user.is_not(None),
        UsageEntry.credential != NOBODYS,
        UsageEntry.tags.is_not(None),
    )
    session.execute(
        update(UsageEntry)
        .where(mine, personal)
        .values(end_user=None, credential=NOBODYS, tags=None)
        .execution_options(synchronize_session=False)
    )
    # Reports that could not be read may hold anything, also what an end user is called.
    unread = RejectedEvent.document.contains(user_id, autoescape=True)
    session.execute(delete(RejectedEvent).where(unread))
