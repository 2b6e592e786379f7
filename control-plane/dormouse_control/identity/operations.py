"""Rules of accounts: who is calling."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal  # keyword arguments

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from dormouse import tokens
from dormouse_control.errors import NotAuthenticated
from dormouse_control.identity import apikeys
from dormouse_control.identity.models import ApiKey, Role, User, UserSession, UserStatus
from dormouse_control.identity.reach import EVERYTHING, Reach

FIRST_TIER = "standard"


@dataclass(frozen=True)
class Caller:
    """Who a request comes from. `credential_id` is the id of the session or key."""

    id: str
    email: str
    status: UserStatus
    tier: str
    created_at: datetime
    credential: Literal["session", "key"]
    credential_id: str
    credential_used_at: datetime | None
    role: Role
    second_factor: bool
    reach: Reach = EVERYTHING

    @property
    def restricted(self) -> bool:
        """Whether it is an API key for some services, models or endpoints only."""
        return self.reach.restricted


def authenticate(
    reading: Session,
    bearer: str,
    *,
    keys: Mapping[str, Ed25519PublicKey],
    address: str | None,
    now: datetime,
) -> Caller:
    """Raises `NotAuthenticated`, also for a living token of a session that was ended."""
    caller = (
        _by_key(reading, bearer, address=address, now=now)
        if bearer.startswith(apikeys.PREFIX)
        else _by_access_token(reading, bearer, keys=keys, now=now)
    )
    if caller is None or caller.status is not UserStatus.ACTIVE:
        raise NotAuthenticated("The API key or access token is wrong, expired or revoked.")
    return caller


def _by_key(reading: Session, key: str, *, address: str | None, now: datetime) -> Caller | None:
    wanted = select(ApiKey, User).join(User).where(ApiKey.sha256 == apikeys.digest(key))
    found = reading.execute(wanted.where(ApiKey.revoked_at.is_(None))).one_or_none()
    if found is None:
        return None
    api_key, user = found
    if not apikeys.is_valid(api_key, address=address, now=now):
        return None
    return Caller(
        **_of_user(user),
        credential="key",
        credential_id=api_key.id,
        credential_used_at=api_key.last_used_at,
        second_factor=False,
        reach=apikeys.reach_of(api_key),
    )


def _by_access_token(
    reading: Session, token: str, *, keys: Mapping[str, Ed25519PublicKey], now: datetime
) -> Caller | None:
    try:
        claims = tokens.verify_session(token, keys=keys, now=now.timestamp())
    except tokens.TokenError:
        return None
    wanted = select(UserSession, User).join(User).where(UserSession.id == claims.session)
    found = reading.execute(
        wanted.where(UserSession.revoked_at.is_(None), UserSession.expires_at > now)
    ).one_or_none()
    if found is None or found[1].id != claims.user:
        return None
    session, user = found
    return Caller(
        **_of_user(user),
        credential="session",
        credential_id=session.id,
        credential_used_at=session.last_used_at,
        second_factor=session.second_factor,
    )


def _of_user(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "status": user.status,
        "role": user.role,
        "tier": user.tier,
        "created_at": user.created_at,
    }
