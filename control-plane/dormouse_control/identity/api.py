"""HTTP of accounts, sessions and keys."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path
from prometheus_client import Counter

from dormouse_control.deps import (
    AfterDep,
    CallerDep,
    LimitDep,
    PlatformDep,
    ReadingDep,
    SessionDep,
    SignedInDep,
)
from dormouse_control.errors import PlatformError
from dormouse_control.identity import apikeys, operations, sessions
from dormouse_control.identity.models import User
from dormouse_control.identity.operations import Caller
from dormouse_control.identity.schemas import (
    Credentials,
    KeyCreate,
    KeyCreated,
    KeyRead,
    Me,
    Refresh,
    Registered,
    Tokens,
)
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1")

LOGINS = Counter("dormouse_logins", "Attempts to sign in, by how they ended.", ["outcome"])


@router.post("/registrations", status_code=201, response_model=Registered)
def register(body: Credentials, session: SessionDep, platform: PlatformDep) -> User:
    """Make an account."""
    return operations.register(
        session,
        email=body.email,
        password=body.password,
        passwords=platform.passwords,
        min_length=platform.settings.password_min_length,
        now=platform.clock(),
    )


@router.post("/sessions", status_code=201, response_model=Tokens)
def sign_in(body: Credentials, session: SessionDep, platform: PlatformDep) -> sessions.TokenPair:
    """Sign in by password."""
    try:
        with platform.database.reads() as reading:
            user = operations.find_by_password(
                reading, email=body.email, password=body.password, passwords=platform.passwords
            )
    except PlatformError as error:
        LOGINS.labels(error.code).inc()
        raise
    LOGINS.labels("signed_in").inc()
    life = timedelta(days=platform.settings.refresh_token_days)
    return sessions.open_session(
        session, user=user, life=life, signing=platform.signing, now=platform.clock()
    )


@router.post("/sessions/refresh", response_model=Tokens)
def refresh(body: Refresh, session: SessionDep, platform: PlatformDep) -> sessions.TokenPair:
    """Exchange a refresh token, once, for a new pair. Using one again ends the session."""
    return sessions.refresh_session(
        session,
        refresh_token=body.refresh_token,
        signing=platform.signing,
        now=platform.clock(),
    )


@router.delete("/sessions/current", status_code=204)
def sign_out(caller: SignedInDep, session: SessionDep, platform: PlatformDep) -> None:
    """End this session: its refresh and access tokens are worth nothing from now on."""
    sessions.end_session(session, session_id=caller.credential_id, now=platform.clock())


@router.get("/me", response_model=Me)
def me(caller: CallerDep) -> Caller:
    """Who you are."""
    return caller


@router.post("/keys", status_code=201, response_model=KeyCreated)
def create_key(
    body: KeyCreate, caller: SignedInDep, session: SessionDep, platform: PlatformDep
) -> KeyCreated:
    """Make an API key. It is shown in this answer and never again."""
    row, key = apikeys.create(session, user_id=caller.id, name=body.name, now=platform.clock())
    return KeyCreated(
        id=row.id, name=row.name, key=key, prefix=row.prefix, created_at=row.created_at
    )


@router.get("/keys", response_model=Page[KeyRead])
def list_keys(
    caller: CallerDep, reading: ReadingDep, after: AfterDep = None, limit: LimitDep = 50
) -> Page[KeyRead]:
    """Your API keys, newest first."""
    rows, following = apikeys.list_keys(reading, user_id=caller.id, after=after, limit=limit)
    return Page(items=[KeyRead.model_validate(row) for row in rows], next=following)


@router.delete("/keys/{id}", status_code=204)
def revoke_key(
    id: Annotated[str, Path(max_length=100, pattern=r"^\w+$")],
    caller: SignedInDep,
    session: SessionDep,
    platform: PlatformDep,
) -> None:
    """Revoke an API key, within a second for calls to models."""
    apikeys.revoke(session, user_id=caller.id, key_id=id, now=platform.clock())
