"""Rules of verified addresses: who opens the link in our mail reads mail there."""

from datetime import datetime

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.identity.models import User, UserStatus
from dormouse_control.identity.registration import Account, Mode, first_status
from dormouse_control.invitations.models import Invitation
from dormouse_control.proofs import tokens
from dormouse_control.proofs.models import OneTimeToken, TokenKind
from dormouse_control.wiring import Platform

LIVING = (UserStatus.ACTIVE, UserStatus.UNVERIFIED, UserStatus.PENDING)


def confirm(session: Session, text: str, *, platform: Platform, actor: Actor) -> Account:
    """Raises `InvalidOneTimeToken`."""
    now = platform.clock()
    kind = TokenKind.VERIFY_EMAIL
    token = tokens.redeem(session, text, kind, sealing=platform.sealing, now=now)
    user, _ = mark(session, token, mode=platform.settings.registration, now=now)
    details = {"status": user.status.value}
    record(session, "user.verify", actor=actor, subject=user.id, now=now, details=details)
    return Account(id=user.id, email=str(user.email), status=user.status)


def mark(session: Session, token: OneTimeToken, *, mode: Mode, now: datetime) -> tuple[User, bool]:
    """The token's user has proved to read mail at its address; whoever waited for that goes on.

    True if nobody had proved it before. Raises `InvalidOneTimeToken` if the account was disabled,
    erased or moved away since.
    """
    invited = session.scalar(select(exists().where(Invitation.used_by == token.user_id)))
    # `first_status` was asked when the account began, and said to wait for this.
    following = first_status(mode, must_verify=True, verified=True, invited=bool(invited))
    the_user = (User.id == token.user_id, User.email == token.bound)
    session.execute(
        update(User)
        .where(*the_user, User.status == UserStatus.UNVERIFIED)
        .values(status=following)
        .execution_options(synchronize_session=False)
    )
    unproved = select(exists().where(*the_user, User.email_verified_at.is_(None)))
    first = bool(session.scalar(unproved))
    marked = session.scalar(
        update(User)
        .where(*the_user, User.status.in_(LIVING))
        .values(email_verified_at=now)
        .returning(User)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    if marked is None:
        raise tokens.refusal()
    return marked, first
