"""What a handler may ask for."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, cast

import structlog
from fastapi import Depends, Header, Path, Query, Request
from fastapi.security import HTTPBearer
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor
from dormouse_control.errors import MissingCredentials, PlatformError
from dormouse_control.gateway.paths import ADDRESS_HEADER
from dormouse_control.identity import apikeys
from dormouse_control.identity.channels import NoCredential, bearer
from dormouse_control.identity.operations import Caller, authenticate
from dormouse_control.wiring import Platform

log = structlog.get_logger(__name__)

# Only so that OpenAPI knows; `caller` reads the header itself.
_scheme = HTTPBearer(auto_error=False, description="An API key or a session's access token.")


# What only looks something up is async: each that is not waits for a thread of its own, and under
# a flood of requests that is what takes time.


async def platform(request: Request) -> Platform:
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


async def visitor(request: Request) -> Actor:
    """Whoever sends this request, as far as is known without a credential."""
    # Only the gateway can open our socket, and it writes this header itself.
    address = request.headers.get(ADDRESS_HEADER)
    return Actor(address=address, request_id=request.state.request_id)


VisitorDep = Annotated[Actor, Depends(visitor)]


def caller(
    request: Request,
    platform: PlatformDep,
    visitor: VisitorDep,
    _documented: Annotated[object, Depends(_scheme)],
) -> Caller:
    """Looked up in a transaction of its own, so that a request which only reads stays one."""
    now = platform.clock()
    with platform.database.reads() as opened:
        found = authenticate(
            opened,
            _bearer(request),
            keys=platform.access_keys,
            address=visitor.address,
            now=now,
        )
    if found.credential == "key" and apikeys.needs_touch(found.credential_used_at, now=now):
        _touch(platform, found.credential_id)
    return found


CallerDep = Annotated[Caller, Depends(caller)]


async def actor(caller: CallerDep, visitor: VisitorDep) -> Actor:
    """The caller, for the audit log."""
    return replace(visitor, id=caller.id, credential=caller.credential_id)


ActorDep = Annotated[Actor, Depends(actor)]
LimitDep = Annotated[int, Query(ge=1, le=200, description="Most items of the page.")]
AfterDep = Annotated[
    str | None,
    Query(max_length=200, pattern=r"^[\w.-]+$", description="`next` of the page before."),
]
UserAgentDep = Annotated[str | None, Header(include_in_schema=False)]
IdDep = Annotated[str, Path(max_length=100, pattern=r"^[\w-]+$")]


def _bearer(request: Request) -> str:
    try:
        return bearer(request.headers.getlist("authorization"), request.url.query)
    except NoCredential as error:
        raise MissingCredentials(str(error)) from None


def _touch(platform: Platform, key_id: str) -> None:
    try:
        with platform.database.sessions.begin() as opened:
            apikeys.touch(opened, key_id=key_id, now=platform.clock())
    except SQLAlchemyError:
        log.warning("key_use_not_noted", key_id=key_id, exc_info=True)
