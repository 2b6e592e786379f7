"""The HTTP surface of a predictor: a bare ASGI application in front of KServe's.

Inference calls need an internal token and are answered here. A few GET paths of KServe's protocol
pass without one. Everything else is not there.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any  # ASGI messages and JSON

import structlog

from dormouse.tokens import InternalClaims
from dormouse_predictors import receiving
from dormouse_predictors.answers import Answer, Send
from dormouse_predictors.errors import CallError, access_revoked, internal, timeout
from dormouse_predictors.jobs import Failed, Job, Outbox
from dormouse_predictors.receiving import ClientGone, Receive
from dormouse_predictors.requests import chat, completions, embeddings
from dormouse_predictors.requests.fields import ParsedCall, read_json
from dormouse_predictors.revoked import Call, Revoked
from dormouse_predictors.scheduler import Scheduler

Parse = Callable[[Mapping[str, Any]], ParsedCall]

ENDPOINTS: dict[str, tuple[str, Parse]] = {
    "/v1/chat/completions": ("chat.completions", chat.parse),
    "/v1/completions": ("completions", completions.parse),
    "/v1/embeddings": ("embeddings", embeddings.parse),
}
_KSERVE = re.compile(r"/|/v2/health/(live|ready)|/v2/models/[^/]+(/ready)?")

_log = structlog.get_logger()


@dataclass(frozen=True)
class Surface:
    """What the application needs to know of the predictor around it."""

    service: str
    endpoints: frozenset[str]
    models: frozenset[str]
    verify: Callable[[str], InternalClaims]
    timeout_seconds: float
    max_body: int = 32 * 1024 * 1024


class Application:
    """`refused` hears the code of every call that did not reach the engine, `busy` how many calls
    are in flight; `draining` makes answers close connections."""

    def __init__(
        self,
        surface: Surface,
        scheduler: Scheduler,
        kserve: Any,
        *,
        refused: Callable[[str], None] = lambda _: None,
        busy: Callable[[int], None] = lambda _: None,
        fetch: Callable[[str], Awaitable[None]] | None = None,
        revoked: Revoked | None = None,
    ) -> None:
        self._surface = surface
        self._scheduler = scheduler
        self._kserve = kserve
        self._refused = refused
        self._busy = busy
        self._fetch = fetch
        self._revoked = revoked or Revoked(surface.service)
        self.draining = False
        self.in_flight = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if method == "GET" and _KSERVE.fullmatch(path):
            await self._kserve(scope, receive, send)
            return
        answer = Answer(send)
        try:
            if path not in ENDPOINTS:
                raise CallError(404, "not_found", "There is nothing at this path.")
            if method != "POST":
                raise CallError(405, "not_found", "Only POST is answered at this path.")
            await self._counted(path, _headers(scope), receive, answer)
        except CallError as error:
            if not answer.reached_engine:
                self._refused(error.code)
            await answer.refuse(error)
        except ClientGone:
            return
        except Exception:
            _log.exception("call failed")
            await answer.refuse(internal())

    async def _counted(
        self, path: str, headers: Mapping[bytes, bytes], receive: Receive, answer: Answer
    ) -> None:
        self.in_flight += 1
        self._busy(self.in_flight)
        try:
            await self._infer(path, headers, receive, answer)
        finally:
            self.in_flight -= 1
            self._busy(self.in_flight)

    async def _infer(
        self, path: str, headers: Mapping[bytes, bytes], receive: Receive, answer: Answer
    ) -> None:
        endpoint, parse = ENDPOINTS[path]
        claims = self._surface.verify(receiving.bearer(headers))
        if endpoint not in self._surface.endpoints:
            service = self._surface.service
            raise CallError(404, "not_found", f"The service {service} does not answer {path}.")
        with self._revoked.watched(claims) as watched:
            async with _until_revoked(watched):
                raw = await receiving.body(headers, receive, self._surface.max_body)
                answer.closing = self.draining
                call = self._parsed(parse, raw, claims)
                job = Job(
                    request_id=receiving.request_id(headers),
                    endpoint=endpoint,
                    claims=claims,
                    request=call.request,
                    stream=call.stream,
                    outbox=Outbox(asyncio.get_running_loop()),
                    end_user=call.end_user,
                )
                if self._fetch is not None:
                    with structlog.contextvars.bound_contextvars(request_id=job.request_id):
                        await self._fetch(claims.model)
            watched.end = partial(self._revoke, job)
            with structlog.contextvars.bound_contextvars(request_id=job.request_id):
                await self._answer(job, call, receive, answer)

    def _parsed(self, parse: Parse, raw: bytes, claims: InternalClaims) -> ParsedCall:
        call = parse(read_json(raw))
        if call.model not in (claims.model, claims.alias):
            raise CallError(
                400, "model_mismatch", "The call was admitted for another model.", param="model"
            )
        if claims.model not in self._surface.models:
            text = f"The model {claims.model} does not exist."
            raise CallError(404, "model_not_found", text, param="model")
        return call

    async def _answer(self, job: Job, call: ParsedCall, receive: Receive, answer: Answer) -> None:
        self._scheduler.submit(job)
        answer.reached_engine = True
        loop = asyncio.get_running_loop()
        clock = loop.call_later(self._surface.timeout_seconds, self._end, job, timeout())
        hung_up = asyncio.create_task(receiving.disconnected(receive))
        answering = asyncio.create_task(answer.give(job, call))
        try:
            await asyncio.wait({hung_up, answering}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                await answering
                return
            if self._scheduler.cancel(job):
                answering.cancel()
            # A job that runs sees the flag at its next token; its usage is recorded before it ends.
            await asyncio.gather(answering, return_exceptions=True)
        finally:
            clock.cancel()
            hung_up.cancel()

    def _revoke(self, job: Job) -> None:
        job.revoked = True
        self._end(job, access_revoked())

    def _end(self, job: Job, error: CallError) -> None:
        if self._scheduler.cancel(job):
            job.outbox.put(Failed(error))


@asynccontextmanager
async def _until_revoked(call: Call) -> AsyncIterator[None]:
    """While a call is on its way to the engine. Raises `CallError` as soon as it is revoked."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            call.end = lambda: limit.reschedule(loop.time())
            yield
    except TimeoutError:
        if not call.revoked:
            raise
    if call.revoked:  # also if the block ended just before its limit struck
        raise access_revoked()


def _headers(scope: Mapping[str, Any]) -> dict[bytes, bytes]:
    return dict(scope["headers"])
