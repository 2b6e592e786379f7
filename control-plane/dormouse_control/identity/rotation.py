"""Rules of refresh tokens: each is good for one new pair, and using one again ends its session."""

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor
from dormouse_control.errors import InvalidCredentials, ReplayedToken
from dormouse_control.identity import refresh
from dormouse_control.identity.models import User, UserSession, UserStatus
from dormouse_control.identity.sessions import Signing, TokenPair, end_session, living, pair

LOST_REPLY = timedelta(seconds=10)
"""For so long a refresh token may be sent again, if the answer to it never arrived."""


def refresh_session(
    session: Session, *, refresh_token: str, signing: Signing, now: datetime, actor: Actor
) -> TokenPair:
    """The next pair. Raises `InvalidCredentials`; a token used before ends its whole session.

    One conditional UPDATE decides which of several simultaneous calls rotates.
    """
    token = refresh.read(refresh_token, signing.refresh)
    if token is None:
        raise InvalidCredentials("The refresh token is not valid.")
    rotated = session.scalar(
        update(UserSession)
        .where(UserSession.id == token.family, UserSession.seq == token.seq)
        .where(*living(signing, now=now))
        .values(seq=token.seq + 1, rotated_at=now, last_used_at=now)
        .returning(UserSession.id)
        .execution_options(synchronize_session=False)
    )
    found = select(UserSession).where(UserSession.id == token.family, *living(signing, now=now))
    family = session.scalar(found.execution_options(populate_existing=True))
    if family is None:
        raise InvalidCredentials("The session has ended. Sign in again.")
    if rotated is None and not _reply_was_lost(family, token, now=now):
        end_session(session, session_id=family.id, now=now, actor=actor, reason="replay")
        raise ReplayedToken("The refresh token was used before. The session has been ended.")
    _check_user(session, family.user_id)
    return pair(family, signing=signing, now=now)


def _reply_was_lost(family: UserSession, token: refresh.RefreshToken, *, now: datetime) -> bool:
    # The family stands at the token's child: nobody has used that yet.
    return (
        family.seq == token.seq + 1
        and family.rotated_at is not None
        and now - family.rotated_at <= LOST_REPLY
    )


def _check_user(session: Session, user_id: str) -> None:
    user = session.get(User, user_id)
    if user is None or user.status is not UserStatus.ACTIVE:
        raise InvalidCredentials("The session has ended. Sign in again.")
