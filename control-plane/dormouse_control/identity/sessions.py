"""Rules of sessions: opened by a password, kept by refresh tokens, ended once and for all."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from dormouse import tokens
from dormouse_control.errors import InvalidCredentials, ReplayedToken
from dormouse_control.identity import refresh, revocations
from dormouse_control.identity.models import RevocationKind, User, UserSession, UserStatus
from dormouse_control.naming import new_id

LOST_REPLY = timedelta(seconds=10)
"""For so long a refresh token may be sent again, if the answer to it never arrived."""


@dataclass(frozen=True)
class Signing:
    """What making tokens takes."""

    access: tokens.SigningKey
    refresh: bytes
    access_seconds: int


@dataclass(frozen=True)
class TokenPair:
    access_token: str
    refresh_token: str
    expires_in: int


def open_session(
    session: Session, *, user: User, life: timedelta, signing: Signing, now: datetime
) -> TokenPair:
    """Raises `InvalidCredentials` if the user changed since the password was found right."""
    current = session.get(User, user.id)
    if current is None or (current.password_hash, current.status) != (
        user.password_hash,
        UserStatus.ACTIVE,
    ):
        raise InvalidCredentials("E-mail address or password is wrong.")
    opened = UserSession(
        id=new_id("ses"),
        user_id=user.id,
        seq=0,
        created_at=now,
        expires_at=now + life,
        last_used_at=now,
    )
    session.add(opened)
    session.flush()
    return _pair(opened, signing=signing, now=now)


def refresh_session(
    session: Session, *, refresh_token: str, signing: Signing, now: datetime
) -> TokenPair:
    """The next pair. Raises `InvalidCredentials`; a token used before ends its whole session.

    One conditional UPDATE decides which of several simultaneous calls rotates.
    """
    token = refresh.read(refresh_token, signing.refresh)
    if token is None:
        raise InvalidCredentials("The refresh token is not valid.")
    valid = (
        UserSession.id == token.family,
        UserSession.seq == token.seq,
        UserSession.revoked_at.is_(None),
        UserSession.expires_at > now,
    )
    rotated = session.scalar(
        update(UserSession)
        .where(*valid)
        .values(seq=token.seq + 1, rotated_at=now, last_used_at=now)
        .returning(UserSession.id)
        .execution_options(synchronize_session=False)
    )
    family = session.get(UserSession, token.family, populate_existing=True)
    if family is None or family.revoked_at is not None or family.expires_at <= now:
        raise InvalidCredentials("The session has ended. Sign in again.")
    if rotated is None and not _reply_was_lost(family, token, now=now):
        end_session(session, session_id=family.id, now=now)
        raise ReplayedToken("The refresh token was used before. The session has been ended.")
    _check_user(session, family.user_id)
    return _pair(family, signing=signing, now=now)


def end_session(session: Session, *, session_id: str, now: datetime) -> None:
    """Does nothing to a session that has ended."""
    ended = session.scalar(
        update(UserSession)
        .where(UserSession.id == session_id, UserSession.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(UserSession.id)
    )
    if ended is not None:
        revocations.record(session, RevocationKind.SESSION, session_id, now=now)


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


def _pair(family: UserSession, *, signing: Signing, now: datetime) -> TokenPair:
    issued = int(now.timestamp())
    expires = min(issued + signing.access_seconds, int(family.expires_at.timestamp()))
    claims = {
        "iss": tokens.ISSUER,
        "aud": tokens.SESSION_AUDIENCE,
        "sub": family.user_id,
        "sid": family.id,
        "iat": issued,
        "exp": expires,
    }
    return TokenPair(
        access_token=tokens.sign(claims, typ=tokens.SESSION_TYPE, key=signing.access),
        refresh_token=refresh.write(refresh.RefreshToken(family.id, family.seq), signing.refresh),
        expires_in=expires - issued,
    )
