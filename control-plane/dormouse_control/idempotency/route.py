"""`Idempotency-Key` in HTTP: routers whose POST and PUT take it say `route_class=RepeatableRoute`.

FastAPI closes the transaction of `SessionDep` after the route's handler has returned, so the
handler that is wrapped here stores its reply in that very transaction.
"""

import hashlib
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar  # FastAPI's own signatures

import anyio
from anyio.to_thread import run_sync
from fastapi import Depends, Header, Request, Response, params
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session

from dormouse_control import rules
from dormouse_control.deps import CallerDep, PlatformDep, SessionDep
from dormouse_control.errors import PlatformError
from dormouse_control.idempotency.operations import Claim, Reply, find, in_progress, store
from dormouse_control.wiring import Platform

NOBODY = "-"
_REPEATED = {"idempotent-replayed": "true"}
_KEPT = ("location", "preference-applied")

KeyHeader = Annotated[
    str | None,
    Header(
        alias="idempotency-key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]*$",
        description="Sent again within a day with the same body, the request is not performed"
        " again: its first answer comes back.",
    ),
]


class Repeated(Exception):
    """Ends a request that was performed before; nothing that it did meanwhile is kept."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


@dataclass(frozen=True)
class _Open:
    """A request with a key, while its transaction is open."""

    claim: Claim
    session: Session
    platform: Platform

    def find(self) -> None:
        """Raises `Repeated` if there is a reply."""
        self.session.rollback()  # one connection a request: gives back the one that it holds
        platform = self.platform
        with platform.database.reads() as reading:
            reply = find(reading, self.claim, sealing=platform.sealing, now=platform.clock())
        if reply is not None:
            raise Repeated(reply)

    def store(self, response: Response) -> None:
        """Raises `Repeated`, or `IdempotencyInProgress`, if another was first."""
        platform = self.platform
        headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
        reply = Reply(response.status_code, bytes(response.body), headers)
        sealing, now = platform.sealing, platform.clock()
        if not store(self.session, self.claim, reply, sealing=sealing, now=now):
            self.find()
            raise in_progress()


class RepeatableRoute(APIRoute):
    """Which a caller may repeat with the same `Idempotency-Key`, if it is a POST or PUT."""

    meant: ClassVar[tuple[str, ...]] = ()
    """How the names of headers begin that are part of what is asked, as the body is."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        dependencies = list(options.pop("dependencies", None) or [])
        if set(options.get("methods") or ()) & {"POST", "PUT"}:
            # After the rule: who may not do this any more is given no old answer either.
            dependencies.append(_key_of(dependencies))
        super().__init__(path, endpoint, dependencies=dependencies, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        perform = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                response = await perform(request)
            except Repeated:
                raise
            except Exception as error:
                # Perhaps it failed only because the same request has just succeeded.
                kept = isinstance(error, PlatformError) and error.keeps_writes
                if not kept and (opened := _opened(request)) is not None:
                    await _run(opened.find)
                raise
            if (opened := _opened(request)) is not None and response.status_code < 300:
                await _run(opened.store, response)
            return response

        return handler


async def answer(_request: Request, repeated: Exception) -> Response:
    assert isinstance(repeated, Repeated)
    reply = repeated.reply
    kind = "application/json" if reply.body else None
    return Response(
        reply.body, reply.status, headers=_REPEATED | dict(reply.headers), media_type=kind
    )


async def _claim_of_caller(
    request: Request,
    caller: CallerDep,
    session: SessionDep,
    platform: PlatformDep,
    key: KeyHeader = None,
) -> None:
    if key is not None:
        await _claim(request, caller.id, key, session, platform)


async def _claim_of_nobody(
    request: Request, session: SessionDep, platform: PlatformDep, key: KeyHeader = None
) -> None:
    if key is not None:
        await _claim(request, NOBODY, key, session, platform)


def _key_of(dependencies: list[params.Depends]) -> params.Depends:
    anyone = any(isinstance(each.dependency, rules.Anyone) for each in dependencies)
    claim: params.Depends = Depends(_claim_of_nobody if anyone else _claim_of_caller)
    return claim


async def _claim(
    request: Request, owner: str, key: str, session: Session, platform: Platform
) -> None:
    route = f"{request.method} {request.scope['route'].path}"
    asked = f"{request.url.path}\n{request.url.query}\n".encode() + await request.body()
    asked += _meant(request)
    # Not the plain hash: a body may hold a password, which could be guessed from that.
    digest = platform.sealing.mac("repeated request", hashlib.sha256(asked).hexdigest())
    claim = Claim(owner, route, key, digest)
    opened = _Open(claim, session, platform)
    await _run(opened.find)
    request.state.repeatable = opened


def _meant(request: Request) -> bytes:
    names: tuple[str, ...] = request.scope["route"].meant
    found = sorted(each for each in request.headers.items() if each[0].startswith(names))
    return json.dumps(found).encode() if found else b""


def _opened(request: Request) -> _Open | None:
    return getattr(request.state, "repeatable", None)


async def _run(call: Callable[..., None], *arguments: object) -> None:
    # Not in the pool of handlers, which may all be waiting for the lock that this request holds.
    await run_sync(call, *arguments, limiter=anyio.CapacityLimiter(1))
