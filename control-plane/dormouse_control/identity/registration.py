"""Rules of registration: who may have an account, and how it begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dormouse_control.audit.models import Outcome
from dormouse_control.audit.record import Actor, record
from dormouse_control.db import insert_new
from dormouse_control.errors import EmailTaken, RegistrationClosed
from dormouse_control.groups.models import Group, GroupMember
from dormouse_control.identity import emails
from dormouse_control.identity.models import Role, User, UserStatus
from dormouse_control.identity.operations import FIRST_TIER
from dormouse_control.identity.passwords import check_new
from dormouse_control.invitations import operations as invitations
from dormouse_control.invitations.models import Invitation
from dormouse_control.mail import outbox
from dormouse_control.mail.models import MailKind
from dormouse_control.naming import new_id
from dormouse_control.wiring import Platform

Mode = Literal["open", "approval", "invitation"]


@dataclass(frozen=True)
class Account:
    """What is answered, also for an address that had an account already."""

    id: str
    email: str
    status: UserStatus


def first_status(mode: Mode, *, must_verify: bool, verified: bool, invited: bool) -> UserStatus:
    """How far an account is."""
    if must_verify and not verified:
        return UserStatus.UNVERIFIED
    if mode == "approval" and not invited:
        return UserStatus.PENDING
    return UserStatus.ACTIVE


def register(
    session: Session,
    *,
    email: str,
    password: str,
    invitation: str | None,
    platform: Platform,
    actor: Actor,
) -> Account:
    """Hashes before the transaction begins: the database must not wait for that."""
    settings = platform.settings
    email = emails.canonical(email)
    invited = _invited(platform, invitation, email=email)
    check_new(password, email=email, min_length=settings.password_min_length)
    password_hash = platform.passwords.hash(password)
    status = first_status(
        settings.registration,
        must_verify=settings.verify_email,
        verified=invited is not None and invited.mailed,
        invited=invited is not None,
    )
    account = Account(id=new_id("usr"), email=email, status=status)
    now = platform.clock()
    if invited is not None:
        # Also when the address turns out to be taken, or it could be asked for any number of them.
        invitations.use(session, invited.id, now=now)
    if _insert(session, account, password_hash=password_hash, invited=invited, now=now):
        _begin(session, account, invited=invited, actor=actor, now=now)
    elif settings.verify_email:
        _again(session, account, actor=actor, now=now)
    else:
        raise EmailTaken("This e-mail address is registered already.", param="email")
    return account


def _invited(platform: Platform, text: str | None, *, email: str) -> Invitation | None:
    if text is None:
        if platform.settings.registration == "invitation":
            raise RegistrationClosed("Only who is invited may register.")
        return None
    with platform.database.reads() as reading:
        return invitations.find(
            reading, text, email=email, sealing=platform.sealing, now=platform.clock()
        )


def _insert(
    session: Session,
    account: Account,
    *,
    password_hash: str,
    invited: Invitation | None,
    now: datetime,
) -> bool:
    """False if the address is taken."""
    row = {
        "id": account.id,
        "email": account.email,
        "password_hash": password_hash,
        "status": account.status,
        "role": Role.USER,
        "tier": invited.tier if invited else FIRST_TIER,
        "created_at": now,
        "email_verified_at": now if invited and invited.mailed else None,
    }
    return bool(insert_new(session, User, [row], unique=(User.email,), returning=User.id))


def _begin(
    session: Session,
    account: Account,
    *,
    invited: Invitation | None,
    actor: Actor,
    now: datetime,
) -> None:
    joined = welcome(session, account.id, invited, now=now) if invited is not None else ()
    if account.status is UserStatus.UNVERIFIED:
        outbox.ask(session, MailKind.VERIFY_EMAIL, address=account.email, now=now)
    details = {
        "status": account.status.value,
        "invitation": invited.id if invited else None,
        "groups": list(joined),
    }
    record(session, "user.register", actor=actor, subject=account.id, now=now, details=details)


def welcome(session: Session, user_id: str, invited: Invitation, *, now: datetime) -> Sequence[str]:
    """Into the groups of an invitation that was used; one that was deleted since is left out."""
    used = update(Invitation).where(Invitation.id == invited.id).values(used_by=user_id)
    session.execute(used)
    groups = session.scalars(
        select(Group.id).where(Group.id.in_(invited.groups)).with_for_update(key_share=True)
    ).all()
    for group in groups:
        added_by = invited.created_by
        session.add(GroupMember(group_id=group, user_id=user_id, added_by=added_by, added_at=now))
    session.flush()
    return groups


def _again(session: Session, account: Account, *, actor: Actor, now: datetime) -> None:
    """Does what `_begin` does for a new account, as far as one can tell from outside."""
    owner = session.scalar(select(User.id).where(User.email == account.email))
    outbox.ask(session, MailKind.REGISTERED_TWICE, address=account.email, now=now)
    record(
        session,
        "user.register",
        actor=actor,
        subject=owner,
        now=now,
        outcome=Outcome.REFUSED,
        details={"reason": "email_taken"},
    )
