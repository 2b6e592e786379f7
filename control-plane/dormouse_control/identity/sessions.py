"""Rules of sessions: opened, listed, and ended once and for all. `rotation` keeps them alive."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from dormouse import tokens
from dormouse_control.audit.record import Actor, Detail, record
from dormouse_control.errors import NotFound
from dormouse_control.identity import refresh, revocations
from dormouse_control.identity.models import RevocationKind, UserSession
from dormouse_control.naming import new_id

_LONGEST_USER_AGENT = 200


@dataclass(frozen=True)
class Signing:
    """What making tokens takes, and how long they live."""

    signer: Callable[[], tokens.SigningKey]
    refresh: bytes
    access_seconds: int
    life: timedelta
    idle: timedelta
    """A session that was not refreshed for so long has ended."""

    @property
    def access(self) -> tokens.SigningKey:
        """The key of this moment: it is replaced from time to time."""
        return self.signer()


@dataclass(frozen=True)
class TokenPair:
    access_token: str
    refresh_token: str
    expires_in: int


@dataclass(frozen=True)
class Opening:
    """How and from where a session is opened. `method`: "password" or the name of a provider."""

    method: str
    second_factor: bool
    address: str | None
    user_agent: str | None


def open_session(
    session: Session,
    *,
    user_id: str,
    opening: Opening,
    signing: Signing,
    now: datetime,
    actor: Actor,
) -> TokenPair:
    """Always a new one. The caller has made sure that the user is active."""
    opened = UserSession(
        id=new_id("ses"),
        user_id=user_id,
        seq=0,
        created_at=now,
        expires_at=now + signing.life,
        last_used_at=now,
        method=opening.method,
        second_factor=opening.second_factor,
        address=opening.address,
        user_agent=_shown(opening.user_agent),
    )
    session.add(opened)
    session.flush()
    details: dict[str, Detail] = {"method": opened.method, "second_factor": opened.second_factor}
    who = replace(actor, id=user_id, credential=opened.id)
    record(session, "session.open", actor=who, subject=opened.id, now=now, details=details)
    return pair(opened, signing=signing, now=now)


def list_sessions(
    reading: Session,
    *,
    user_id: str,
    signing: Signing,
    now: datetime,
    after: str | None,
    limit: int,
) -> tuple[Sequence[UserSession], str | None]:
    """Those that have not ended, newest first; and where the next page begins."""
    wanted = select(UserSession).where(UserSession.user_id == user_id, *living(signing, now=now))
    if after is not None:
        wanted = wanted.where(UserSession.id < after)
    rows = reading.scalars(wanted.order_by(UserSession.id.desc()).limit(limit + 1)).all()
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def end_own_session(
    session: Session,
    *,
    user_id: str,
    session_id: str,
    signing: Signing,
    now: datetime,
    actor: Actor,
) -> None:
    """Raises `NotFound` for another user's session as for none."""
    mine = (UserSession.id == session_id, UserSession.user_id == user_id)
    found = session.scalar(select(UserSession.id).where(*mine, *living(signing, now=now)))
    if found is None or not end_session(
        session, session_id=session_id, now=now, actor=actor, reason="signed_out"
    ):
        raise NotFound("You have no such session.")


def end_session(
    session: Session, *, session_id: str, now: datetime, actor: Actor, reason: str
) -> bool:
    """False, and nothing done, if it had ended."""
    ended = session.scalar(
        update(UserSession)
        .where(UserSession.id == session_id, UserSession.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(UserSession.id)
    )
    if ended is None:
        return False
    revocations.record(session, RevocationKind.SESSION, session_id, now=now, cuts=True)
    details: dict[str, Detail] = {"reason": reason}
    record(session, "session.end", actor=actor, subject=session_id, now=now, details=details)
    return True


def end_all(
    session: Session, *, user_id: str, now: datetime, actor: Actor, but: str | None = None
) -> None:
    """End every session of the user, except `but`."""
    open_ones = [UserSession.user_id == user_id, UserSession.revoked_at.is_(None)]
    if but is not None:
        open_ones.append(UserSession.id != but)
    ended = session.scalars(
        update(UserSession).where(*open_ones).values(revoked_at=now).returning(UserSession.id)
    ).all()
    for session_id in sorted(ended):
        revocations.record(session, RevocationKind.SESSION, session_id, now=now, cuts=True)
    if ended:
        details: dict[str, Detail] = {"sessions": sorted(ended)}
        record(session, "session.end_all", actor=actor, subject=user_id, now=now, details=details)


def living(signing: Signing, *, now: datetime) -> tuple[ColumnElement[bool], ...]:
    """The condition of a session that has not ended."""
    return (
        UserSession.revoked_at.is_(None),
        UserSession.expires_at > now,
        UserSession.last_used_at > now - signing.idle,
    )


def _shown(user_agent: str | None) -> str | None:
    # Whatever the caller's program wrote: its owner reads it, perhaps in a terminal.
    printable = "".join(each for each in user_agent or "" if each.isprintable())
    return printable[:_LONGEST_USER_AGENT] or None


def pair(family: UserSession, *, signing: Signing, now: datetime) -> TokenPair:
    """The tokens of the session as it stands."""
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
