"""HTTP of sessions."""

from fastapi import APIRouter
from prometheus_client import Counter

from dormouse_control import rules
from dormouse_control.deps import (
    ActorDep,
    AfterDep,
    CallerDep,
    IdDep,
    LimitDep,
    PlatformDep,
    ReadingDep,
    SessionDep,
    UserAgentDep,
    VisitorDep,
)
from dormouse_control.errors import PlatformError
from dormouse_control.identity import rotation, sessions
from dormouse_control.identity.models import UserSession
from dormouse_control.identity.operations import Caller
from dormouse_control.identity.schemas import Me, Refresh, SessionRead, SignIn, Tokens
from dormouse_control.pages import Cursors
from dormouse_control.proofs import sign_in as password
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1")

LOGINS = Counter("dormouse_logins", "Attempts to sign in, by how they ended.", ["outcome"])


@router.post("/sessions", status_code=201, response_model=Tokens, dependencies=[rules.ANYONE])
def sign_in(
    body: SignIn, platform: PlatformDep, visitor: VisitorDep, user_agent: UserAgentDep = None
) -> sessions.TokenPair:
    """Sign in by password, and by a code where the account has a second factor."""
    proof = password.Proof(body.email, body.password, body.code)
    try:
        pair = password.sign_in(platform, proof, visitor=visitor, user_agent=user_agent)
    except PlatformError as error:
        LOGINS.labels(error.code).inc()
        raise
    LOGINS.labels("signed_in").inc()
    return pair


@router.post("/sessions/refresh", response_model=Tokens, dependencies=[rules.ANYONE])
def refresh(
    body: Refresh, session: SessionDep, platform: PlatformDep, visitor: VisitorDep
) -> sessions.TokenPair:
    """Exchange a refresh token, once, for a new pair. Using one again ends the session."""
    return rotation.refresh_session(
        session,
        refresh_token=body.refresh_token,
        signing=platform.signing,
        now=platform.clock(),
        actor=visitor,
    )


@router.get("/sessions", response_model=Page[SessionRead], dependencies=[rules.SIGNED_IN])
def list_sessions(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[SessionRead]:
    """Your open sessions, newest first."""
    cursors = Cursors(platform.sealing, owner=caller.id, name="sessions", query={})
    rows, following = sessions.list_sessions(
        reading,
        user_id=caller.id,
        signing=platform.signing,
        now=platform.clock(),
        after=cursors.read(after),
        limit=limit,
    )
    items = [_read(row, caller) for row in rows]
    return Page(items=items, next=cursors.write(following) if following else None)


@router.delete("/sessions/current", status_code=204, dependencies=[rules.SIGNED_IN])
def sign_out(
    caller: CallerDep, actor: ActorDep, session: SessionDep, platform: PlatformDep
) -> None:
    """End this session: its refresh and access tokens are worth nothing from now on."""
    sessions.end_session(
        session,
        session_id=caller.credential_id,
        now=platform.clock(),
        actor=actor,
        reason="signed_out",
    )


@router.delete("/sessions/others", status_code=204, dependencies=[rules.SIGNED_IN])
def end_other_sessions(
    caller: CallerDep, actor: ActorDep, session: SessionDep, platform: PlatformDep
) -> None:
    """End every session of yours but this one."""
    sessions.end_all(
        session, user_id=caller.id, now=platform.clock(), actor=actor, but=caller.credential_id
    )


@router.delete("/sessions/{id}", status_code=204, dependencies=[rules.SIGNED_IN])
def end_session(
    id: IdDep, caller: CallerDep, actor: ActorDep, session: SessionDep, platform: PlatformDep
) -> None:
    """End one of your sessions."""
    sessions.end_own_session(
        session,
        user_id=caller.id,
        session_id=id,
        signing=platform.signing,
        now=platform.clock(),
        actor=actor,
    )


@router.get("/me", response_model=Me, dependencies=[rules.CALLER])
def me(caller: CallerDep) -> Caller:
    """Who you are."""
    return caller


def _read(row: UserSession, caller: Caller) -> SessionRead:
    return SessionRead(
        id=row.id,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        method=row.method,
        second_factor=row.second_factor,
        address=row.address,
        user_agent=row.user_agent,
        current=row.id == caller.credential_id,
    )
