"""Rules of accounts: who may register, and who is calling."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dormouse import tokens
from dormouse_control.errors import EmailTaken, InvalidCredentials, NotAuthenticated
from dormouse_control.identity import apikeys, emails
from dormouse_control.identity.models import ApiKey, User, UserSession, UserStatus
from dormouse_control.identity.passwords import Passwords, check_new
from dormouse_control.naming import new_id

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


def register(
    session: Session,
    *,
    email: str,
    password: str,
    passwords: Passwords,
    min_length: int,
    now: datetime,
) -> User:
    """Hashes before the transaction begins: the database must not wait for that."""
    email = emails.canonical(email)
    check_new(password, email=email, min_length=min_length)
    user = User(
        id=new_id("usr"),
        email=email,
        password_hash=passwords.hash(password),
        status=UserStatus.ACTIVE,
        tier=FIRST_TIER,
        created_at=now,
    )
    session.add(user)
    try:
        session.flush()
    except IntegrityError as error:
        raise EmailTaken("This e-mail address is registered already.", param="email") from error
    return user


def find_by_password(reading: Session, *, email: str, password: str, passwords: Passwords) -> User:
    """Raises `InvalidCredentials`, after the same time and with the same text for every reason."""
    user = reading.scalar(select(User).where(User.email == emails.folded(email)))
    reading.close()  # hashing takes long: give the connection back
    right = passwords.verify(password, user.password_hash if user else None)
    if user is None or not right or user.status is not UserStatus.ACTIVE:
        raise InvalidCredentials("E-mail address or password is wrong.")
    return user


def authenticate(
    reading: Session, bearer: str, *, keys: Mapping[str, Ed25519PublicKey], now: datetime
) -> Caller:
    """Raises `NotAuthenticated`, also for a living token of a session that was ended."""
    caller = (
        _by_key(reading, bearer)
        if bearer.startswith(apikeys.PREFIX)
        else _by_access_token(reading, bearer, keys=keys, now=now)
    )
    if caller is None or caller.status is not UserStatus.ACTIVE:
        raise NotAuthenticated("The API key or access token is wrong, expired or revoked.")
    return caller


def _by_key(reading: Session, key: str) -> Caller | None:
    wanted = select(ApiKey, User).join(User).where(ApiKey.sha256 == apikeys.digest(key))
    found = reading.execute(wanted.where(ApiKey.revoked_at.is_(None))).one_or_none()
    if found is None:
        return None
    api_key, user = found
    return _caller(user, "key", api_key.id, api_key.last_used_at)


def _by_access_token(
    reading: Session, token: str, *, keys: Mapping[str, Ed25519PublicKey], now: datetime
) -> Caller | None:
    try:
        claims = tokens.decode(
            token,
            typ=tokens.SESSION_TYPE,
            audience=tokens.SESSION_AUDIENCE,
            keys=keys,
            now=now.timestamp(),
        )
    except tokens.TokenError:
        return None
    wanted = select(UserSession, User).join(User).where(UserSession.id == str(claims.get("sid")))
    found = reading.execute(
        wanted.where(UserSession.revoked_at.is_(None), UserSession.expires_at > now)
    ).one_or_none()
    if found is None or found[1].id != claims["sub"]:
        return None
    session, user = found
    return _caller(user, "session", session.id, session.last_used_at)


def _caller(
    user: User, credential: Literal["session", "key"], id: str, used: datetime | None
) -> Caller:
    return Caller(
        id=user.id,
        email=user.email,
        status=user.status,
        tier=user.tier,
        created_at=user.created_at,
        credential=credential,
        credential_id=id,
        credential_used_at=used,
    )
