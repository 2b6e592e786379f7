"""The HTTP surface of a predictor: a bare ASGI application in front of KServe's.

Inference calls need an internal token and are answered here. A few GET paths of KServe's protocol
pass without one. Everything else is not there.
"""

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any  # ASGI messages and JSON

import structlog

from dormouse.tokens import InternalClaims
from dormouse_predictors.answers import Answer, Send
from dormouse_predictors.errors import CallError, internal
from dormouse_predictors.jobs import Job, Outbox
from dormouse_predictors.requests import chat, completions, embeddings
from dormouse_predictors.requests.fields import ParsedCall, read_json
from dormouse_predictors.scheduler import Scheduler

Receive = Callable[[], Awaitable[dict[str, Any]]]
Parse = Callable[[Mapping[str, Any]], ParsedCall]

ENDPOINTS: dict[str, tuple[str, Parse]] = {
    "/v1/chat/completions": ("chat.completions", chat.parse),
    "/v1/completions": ("completions", completions.parse),
    "/v1/embeddings": ("embeddings", embeddings.parse),
}
_KSERVE = re.compile(r"/|/v2/health/(live|ready)|/v2/models/[^/]+(/ready)?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_log = structlog.get_logger()


class ClientGone(Exception):
    """The client hung up before its body was read."""


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
    ) -> None:
        self._surface = surface
        self._scheduler = scheduler
        self._kserve = kserve
        self._refused = refused
        self._busy = busy
        self._fetch = fetch
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
        claims = self._caller(headers)
        if endpoint not in self._surface.endpoints:
            service = self._surface.service
            raise CallError(404, "not_found", f"The service {service} does not answer {path}.")
        raw = await _body(headers, receive, self._surface.max_body)
        answer.closing = self.draining
        call = parse(read_json(raw))
        if call.model not in (claims.model, claims.alias):
            raise CallError(
                400, "model_mismatch", "The call was admitted for another model.", param="model"
            )
        if claims.model not in self._surface.models:
            text = f"The model {claims.model} does not exist."
            raise CallError(404, "model_not_found", text, param="model")
        job = Job(
            request_id=_request_id(headers),
            endpoint=endpoint,
            claims=claims,
            request=call.request,
            stream=call.stream,
            outbox=Outbox(asyncio.get_running_loop()),
            end_user=call.end_user,
        )
        with structlog.contextvars.bound_contextvars(request_id=job.request_id):
            if self._fetch is not None:
                await self._fetch(claims.model)
            await self._answer(job, call, receive, answer)

    async def _answer(self, job: Job, call: ParsedCall, receive: Receive, answer: Answer) -> None:
        self._scheduler.submit(job)
        answer.reached_engine = True
        loop = asyncio.get_running_loop()
        clock = loop.call_later(self._surface.timeout_seconds, self._time_out, job, answer)
        hung_up = asyncio.create_task(_disconnected(receive))
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

    def _time_out(self, job: Job, answer: Answer) -> None:
        if self._scheduler.cancel(job):
            answer.time_out(job)

    def _caller(self, headers: Mapping[bytes, bytes]) -> InternalClaims:
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise CallError(401, "missing_credentials", "An internal token is needed here.")
        return self._surface.verify(token.strip())


def _headers(scope: Mapping[str, Any]) -> dict[bytes, bytes]:
    return dict(scope["headers"])


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


async def _body(headers: Mapping[bytes, bytes], receive: Receive, most: int) -> bytes:
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise CallError(415, "unsupported_encoding", "The body must not be compressed.")
    too_large = CallError(413, "body_too_large", f"A body may have {most} bytes at most.")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > 2 * most:
        raise too_large
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            parts.clear()  # who sends not much too much gets to the end, and so to our answer
        if size > 2 * most or (size > most and not message.get("more_body")):
            raise too_large
        if not message.get("more_body"):
            return b"".join(parts)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
