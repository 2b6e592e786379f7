"""What the authorizer asks: who a credential stands for."""

from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from dormouse_control.entitlements.operations import active_services
from dormouse_control.errors import NotFound
from dormouse_control.identity.models import ApiKey, User, UserSession, UserStatus
from dormouse_control.internal.schemas import KeyQuestion, PrincipalRead, SessionQuestion

HIGHEST_PRIORITY = 0


def principal(
    reading: Session,
    question: KeyQuestion | SessionQuestion,
    *,
    requests_per_minute: int,
    now: datetime,
) -> PrincipalRead:
    """Raises `NotFound` for what is unknown, revoked, disabled or expired."""
    wanted = _by_key(question) if isinstance(question, KeyQuestion) else _by_session(question, now)
    found = reading.execute(wanted.where(User.status == UserStatus.ACTIVE)).one_or_none()
    if found is None:
        raise NotFound("There is no such credential.")
    credential, user = found
    expires = credential.expires_at if isinstance(credential, UserSession) else None
    return PrincipalRead(
        user=user.id,
        credential=credential.id,
        tier=user.tier,
        highest_priority=HIGHEST_PRIORITY,
        requests_per_minute=requests_per_minute,
        entitlements=active_services(reading, user_id=user.id),
        expires_at=int(expires.timestamp()) if expires else None,
    )


def _by_key(question: KeyQuestion) -> Select[ApiKey, User]:
    wanted = select(ApiKey, User).join(User)
    return wanted.where(ApiKey.sha256 == question.sha256, ApiKey.revoked_at.is_(None))


def _by_session(question: SessionQuestion, now: datetime) -> Select[UserSession, User]:
    wanted = select(UserSession, User).join(User)
    return wanted.where(
        UserSession.id == question.session,
        UserSession.user_id == question.user,
        UserSession.revoked_at.is_(None),
        UserSession.expires_at > now,
    )
