"""Rules of changing what somebody proves themselves with, while signed in."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.errors import InvalidValue
from dormouse_control.identity import sessions
from dormouse_control.identity.models import UserSession
from dormouse_control.identity.operations import Caller
from dormouse_control.identity.passwords import check_new, length
from dormouse_control.identity.sessions import Opening, TokenPair
from dormouse_control.mail import outbox
from dormouse_control.mail.models import MailKind
from dormouse_control.proofs import attempts, checks, second_factor, tokens
from dormouse_control.proofs.checks import Checked
from dormouse_control.proofs.models import TokenKind
from dormouse_control.proofs.second_factor import Enrolment
from dormouse_control.wiring import Platform


def change_password(
    platform: Platform,
    *,
    caller: Caller,
    current: str,
    new: str,
    actor: Actor,
    user_agent: str | None,
) -> TokenPair:
    """Ends every session and opens a new one, so that nobody keeps what they had."""
    checked = _check(platform, caller, current, actor)
    alone = platform.settings.password_min_length
    least = second_factor.shortest_password(checked.user, alone=alone)
    check_new(new, email=caller.email, min_length=least)
    password_hash = platform.passwords.hash(new)
    now = platform.clock()
    with platform.database.sessions.begin() as session:
        user = checks.accept(session, checked, now=now)
        # Again: the second factor may have gone while the password was hashed.
        least = second_factor.shortest_password(user, alone=alone)
        check_new(new, email=caller.email, min_length=least)
        user.password_hash = password_hash
        for kind in (TokenKind.RESET_PASSWORD, TokenKind.LOGIN_CODE):
            tokens.end_all(session, user_id=user.id, kind=kind, now=now)
        _tell(session, caller, "password", platform)
        sessions.end_all(session, user_id=user.id, now=now, actor=actor)
        record(session, "password.change", actor=actor, subject=user.id, now=now)
        opening = Opening("password", caller.second_factor, actor.address, user_agent)
        return sessions.open_session(
            session,
            user_id=user.id,
            opening=opening,
            signing=platform.signing,
            now=now,
            actor=actor,
        )


def begin_second_factor(
    platform: Platform, *, caller: Caller, password: str, actor: Actor
) -> Enrolment:
    """Raises `AlreadyExists`, and what `check_password` raises."""
    checked = _check(platform, caller, password, actor)
    with platform.database.sessions.begin() as session:
        checks.accept(session, checked, now=platform.clock())
        return second_factor.begin(
            session, user_id=caller.id, email=caller.email, sealing=platform.sealing
        )


def confirm_second_factor(
    platform: Platform, *, caller: Caller, code: str, actor: Actor
) -> list[str]:
    """The recovery codes. This session counts as one with a code, and the others end."""
    attempt = checks.count(platform, email=caller.email, address=actor.address)
    now = platform.clock()
    with platform.database.sessions.begin() as session:
        codes = second_factor.confirm(
            session, user_id=caller.id, code=code, sealing=platform.sealing, now=now, actor=actor
        )
        attempts.succeed(session, attempt, now=now)
        _restart(session, caller, platform, second_factor=True, actor=actor)
        return codes


def remove_second_factor(
    platform: Platform, *, caller: Caller, password: str, code: str, actor: Actor
) -> None:
    """The password must be long enough to be the only factor. The other sessions end."""
    checked = _check(platform, caller, password, actor)
    least = platform.settings.password_min_length
    now = platform.clock()
    with platform.database.sessions.begin() as session:
        user = checks.accept(session, checked, now=now)
        if not second_factor.is_on(user):
            raise InvalidValue("Your account has no second factor.")
        if length(password) < least:
            raise InvalidValue(
                f"Without a second factor a password needs {least} characters. Change it first.",
                param="password",
            )
        second_factor.demand(session, user, code, sealing=platform.sealing, now=now)
        second_factor.remove(session, user_id=user.id, now=now, actor=actor)
        _restart(session, caller, platform, second_factor=False, actor=actor)


def _check(platform: Platform, caller: Caller, password: str, actor: Actor) -> Checked:
    return checks.check_password(
        platform, email=caller.email, password=password, address=actor.address
    )


def _restart(
    session: Session, caller: Caller, platform: Platform, *, second_factor: bool, actor: Actor
) -> None:
    mine = caller.credential_id
    now = platform.clock()
    session.execute(
        update(UserSession).where(UserSession.id == mine).values(second_factor=second_factor)
    )
    _tell(session, caller, "second_factor", platform)
    sessions.end_all(session, user_id=caller.id, now=now, actor=actor, but=mine)


def _tell(session: Session, caller: Caller, about: str, platform: Platform) -> None:
    outbox.enqueue(
        session,
        MailKind.CHANGED,
        address=caller.email,
        user_id=caller.id,
        about=about,
        now=platform.clock(),
    )
