"""What the authorizer asks: who a credential stands for, and what they may at this moment."""

from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from dormouse_control import budgets
from dormouse_control.budgets.decisions import LOWEST_PRIORITY, standing
from dormouse_control.entitlements.operations import rights
from dormouse_control.errors import NotFound
from dormouse_control.identity.models import ApiKey, User, UserSession, UserStatus
from dormouse_control.internal.limits import limits
from dormouse_control.internal.schemas import (
    AnyQuestion,
    KeyQuestion,
    PrincipalRead,
    SessionQuestion,
)
from dormouse_control.tiers.models import Tier
from dormouse_control.wiring import Platform


def principal(
    reading: Session,
    question: AnyQuestion,
    *,
    platform: Platform,
    now: datetime,
) -> PrincipalRead:
    """Raises `NotFound` for what is unknown, revoked, disabled or expired."""
    wanted = _wanted(question, now)
    found = reading.execute(wanted.where(User.status == UserStatus.ACTIVE)).one_or_none()
    if found is None:
        raise NotFound("There is no such credential.")
    credential, user = found
    tier = reading.get_one(Tier, user.tier)
    key = credential if isinstance(credential, ApiKey) else None
    entitlements = _entitlements(reading, user.id, key, now=now)
    found_limits = limits(
        user_id=user.id,
        tier=tier,
        key=key,
        entitled=entitlements,
        catalog=platform.catalog,
        settings=platform.settings,
    )
    owed = budgets.of_many(reading, users=[user.id], keys=[key.id] if key else [], now=now)
    left = standing(budgets.spent(reading, owed, now=now), now=now)
    return PrincipalRead(
        user=user.id,
        credential=credential.id,
        tier=user.tier,
        highest_priority=LOWEST_PRIORITY if left.lowers_priority else tier.highest_priority,
        requests_per_minute=tier.requests_per_minute or platform.settings.requests_per_minute,
        key_requests_per_minute=key.requests_per_minute if key else None,
        entitlements=entitlements,
        services=key.services if key else None,
        models=key.models if key else None,
        endpoints=key.endpoints if key else None,
        ip_ranges=key.ip_ranges if key else None,
        expires_at=_seconds(credential.expires_at),
        over_budget=left.over,
        asked_again_at=_seconds(left.until),
        limits=found_limits,
        budgeted=any(budget.refused_from_nano is not None for budget in owed),
        refuse_gpu=left.refuses_gpu,
        max_queued=tier.queued_calls or platform.settings.queued_calls,
        max_body=tier.max_body_mb * 2**20 if tier.max_body_mb else None,
        tags=key.tags or {} if key else {},
    )


def _entitlements(
    reading: Session, user_id: str, key: ApiKey | None, *, now: datetime
) -> dict[str, int | None]:
    allowed = key.services if key else None
    return {
        service: _seconds(end)
        for service, end in sorted(rights(reading, user_id=user_id, now=now).items())
        if allowed is None or service in allowed
    }


def _seconds(time: datetime | None) -> int | None:
    # Rounded down: a moment early, but never late.
    return None if time is None else int(time.timestamp())


def _wanted(
    question: AnyQuestion, now: datetime
) -> Select[ApiKey, User] | Select[UserSession, User]:
    if isinstance(question, KeyQuestion):
        return _living_key(now).where(ApiKey.sha256 == question.sha256)
    if isinstance(question, SessionQuestion):
        return _living_session(question.session, question.user, now)
    if question.credential.startswith("key_"):
        mine = (ApiKey.id == question.credential, ApiKey.user_id == question.user)
        return _living_key(now).where(*mine)
    return _living_session(question.credential, question.user, now)


def _living_key(now: datetime) -> Select[ApiKey, User]:
    return (
        select(ApiKey, User)
        .join(User)
        .where(
            ApiKey.revoked_at.is_(None),
            ApiKey.expires_at.is_(None) | (ApiKey.expires_at > now),
        )
    )


def _living_session(session_id: str, user_id: str, now: datetime) -> Select[UserSession, User]:
    return (
        select(UserSession, User)
        .join(User)
        .where(
            UserSession.id == session_id,
            UserSession.user_id == user_id,
            UserSession.revoked_at.is_(None),
            UserSession.expires_at > now,
        )
    )
