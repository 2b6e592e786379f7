"""What a handler may ask for."""

from collections.abc import Iterator
from typing import Annotated, cast

import structlog
from fastapi import Depends, Query, Request
from fastapi.security import HTTPBearer
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dormouse_control.errors import MissingCredentials, PlatformError, SessionRequired
from dormouse_control.identity import apikeys
from dormouse_control.identity.operations import Caller, authenticate
from dormouse_control.wiring import Platform

log = structlog.get_logger(__name__)

# Only so that OpenAPI knows; `caller` reads the header itself.
_scheme = HTTPBearer(auto_error=False, description="An API key or a session's access token.")


def platform(request: Request) -> Platform:
    return cast(Platform, request.app.state.platform)


PlatformDep = Annotated[Platform, Depends(platform)]


def session(platform: PlatformDep) -> Iterator[Session]:
    with platform.database.sessions() as opened:
        try:
            yield opened
        except PlatformError as error:
            if error.keeps_writes:
                opened.commit()
            raise
        opened.commit()


def reading(platform: PlatformDep) -> Iterator[Session]:
    with platform.database.reads() as opened:
        yield opened


# "function": commit before the answer leaves, so a failed commit is never reported as success.
SessionDep = Annotated[Session, Depends(session, scope="function")]
ReadingDep = Annotated[Session, Depends(reading, scope="function")]


def caller(
    request: Request, platform: PlatformDep, _documented: Annotated[object, Depends(_scheme)]
) -> Caller:
    """Looked up in a transaction of its own, so that a request which only reads stays one."""
    now = platform.clock()
    with platform.database.reads() as opened:
        found = authenticate(opened, _bearer(request), keys=platform.access_keys, now=now)
    if found.credential == "key" and apikeys.needs_touch(found.credential_used_at, now=now):
        _touch(platform, found.credential_id)
    return found


CallerDep = Annotated[Caller, Depends(caller)]


def signed_in(caller: CallerDep) -> Caller:
    """Refuses API keys: whoever has a leaked key must not make more of them."""
    if caller.credential != "session":
        raise SessionRequired("An API key may not do this. Sign in and use the access token.")
    return caller


SignedInDep = Annotated[Caller, Depends(signed_in)]
LimitDep = Annotated[int, Query(ge=1, le=200, description="Most items of the page.")]
AfterDep = Annotated[
    str | None,
    Query(max_length=100, pattern=r"^[\w.-]+$", description="`next` of the page before."),
]


def _bearer(request: Request) -> str:
    headers = request.headers.getlist("authorization")
    if not headers:
        raise MissingCredentials(
            "No credentials. Send 'Authorization: Bearer KEY' with an API key (dm_…) or a"
            " session's access token."
        )
    scheme, _, credential = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer" or not credential:
        raise MissingCredentials("The header must be 'Authorization: Bearer KEY', once.")
    return credential


def _touch(platform: Platform, key_id: str) -> None:
    try:
        with platform.database.sessions.begin() as opened:
            apikeys.touch(opened, key_id=key_id, now=platform.clock())
    except SQLAlchemyError:
        log.warning("key_use_not_noted", key_id=key_id, exc_info=True)
