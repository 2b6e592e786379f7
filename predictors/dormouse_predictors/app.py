"""The HTTP surface of a predictor: a bare ASGI application.

Inference calls need an internal token and are answered here. A few GET paths of KServe's protocol
pass to `probes` without one. Everything else is not there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any  # ASGI messages and JSON

import structlog

from dormouse.events import UsageEvent
from dormouse.rate_limits import HEADER, limit_headers
from dormouse.tokens import InternalClaims
from dormouse_predictors import health, receiving
from dormouse_predictors.answers import Answer, Send
from dormouse_predictors.arriving import Arriving
from dormouse_predictors.calls import Call, expiring, interrupted_by
from dormouse_predictors.errors import CallError, internal, timeout
from dormouse_predictors.intake import Intake
from dormouse_predictors.jobs import Failed, Job, Outbox
from dormouse_predictors.meters import Metering
from dormouse_predictors.progress import Progress, wanted
from dormouse_predictors.receiving import ClientGone, Incoming, Receive
from dormouse_predictors.requests import chat, completions, embeddings
from dormouse_predictors.requests.fields import ParsedCall, read_json
from dormouse_predictors.revoked import Revoked
from dormouse_predictors.scheduler import Scheduler
from dormouse_predictors.witness import Witness

Parse = Callable[[Mapping[str, Any]], ParsedCall]

ENDPOINTS: dict[str, tuple[str, Parse]] = {
    "/v1/chat/completions": ("chat.completions", chat.parse),
    "/v1/completions": ("completions", completions.parse),
    "/v1/embeddings": ("embeddings", embeddings.parse),
}

_log = structlog.get_logger()


@dataclass(frozen=True)
class Surface:
    """What the application needs to know of the predictor around it; `offers` a model of a name."""

    service: str
    endpoints: frozenset[str]
    offers: Callable[[str], Awaitable[bool]]
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
        probes: Any,
        *,
        refused: Callable[[str], None] = lambda _: None,
        busy: Callable[[int], None] = lambda _: None,
        fetch: Callable[[str], Coroutine[Any, Any, None]] | None = None,
        revoked: Revoked | None = None,
        metering: Metering | None = None,
        witness: Witness | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._surface = surface
        self._scheduler = scheduler
        self._probes = probes
        self._refused = refused
        self._busy = busy
        self._fetch = fetch
        self._revoked = revoked or Revoked(surface.service)
        self._metering = metering or Metering(None, lambda _: 0)
        self._witness = witness or Witness(None)
        self._progress = progress or Progress()
        self._arriving = Arriving()
        self.intake = Intake()
        self.draining = False
        self.in_flight = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if method == "GET" and health.answers(path):
            await self._probes(scope, receive, send)
            return
        answer = Answer(send, partial(self._witness.hold, scope))
        incoming = Incoming(receive)
        try:
            if path not in ENDPOINTS:
                raise CallError(404, "not_found", "There is nothing at this path.")
            if method != "POST":
                raise CallError(405, "not_found", "Only POST is answered at this path.")
            await self._counted(path, _headers(scope), incoming, answer)
        except CallError as error:
            if error.status != 403:  # a right that has ended is not waited with
                await incoming.drain(2 * self._surface.max_body)
            if not answer.reached_engine:
                self._refused(error.code)
            await answer.refuse(error)
        except ClientGone:
            return
        except Exception:
            _log.exception("call failed")
            await answer.refuse(internal())

    def at_work(self) -> int:
        """Calls that are more to us than a body which may never be whole."""
        return self.in_flight - self._arriving.calls

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
        claims = self._surface.verify(receiving.bearer(headers))
        answer.limits = limit_headers(headers.get(HEADER))
        record = self._metering.begin(claims)
        event: UsageEvent | None = None
        try:
            self.intake.check(self.at_work())
            with self._revoked.watched(claims) as call, expiring(call):
                job, parsed, hung_up = await self._received(call, path, headers, receive, answer)
                try:
                    tell = self._telling(job) if wanted(headers) else None
                    await self._answer(job, parsed, call, answer, tell)
                finally:
                    hung_up.cancel()
                    event = job.event
        finally:
            self._metering.end(claims, record, event)

    async def _received(
        self,
        call: Call,
        path: str,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        answer: Answer,
    ) -> tuple[Job, ParsedCall, "asyncio.Task[None]"]:
        """The call as a job whose model's weights are here, and who listens for its hanging up."""
        claims, (endpoint, parse) = call.claims, ENDPOINTS[path]
        if endpoint not in self._surface.endpoints:
            service = self._surface.service
            raise CallError(404, "not_found", f"The service {service} does not answer {path}.")
        tags = receiving.tags(headers)
        most = self._surface.max_body
        if claims.max_body is not None:
            most = min(most, claims.max_body)
        hung_up: asyncio.Task[None] | None = None
        try:
            async with interrupted_by(call):
                with self._arriving.body(claims.user) as arriving:
                    raw = await receiving.body(headers, receive, most, arriving.grow)
                hung_up = asyncio.create_task(receiving.disconnected(receive))
                hung_up.add_done_callback(partial(_gone, call))
                answer.closing = self.draining
                parsed = self._parsed(parse, raw, claims)
                if not await self._surface.offers(claims.model):
                    text = f"The model {claims.model} does not exist."
                    raise CallError(404, "model_not_found", text, param="model")
                job = Job(
                    request_id=receiving.request_id(headers),
                    endpoint=endpoint,
                    claims=claims.asked_for(parsed.priority),
                    request=parsed.request,
                    stream=parsed.stream,
                    outbox=Outbox(asyncio.get_running_loop()),
                    end_user=parsed.end_user,
                    tags=tags,
                )
                if self._fetch is not None:
                    with structlog.contextvars.bound_contextvars(request_id=job.request_id):
                        await self._fetched(job, headers, answer)
        except BaseException:
            if hung_up is not None:
                hung_up.cancel()
            raise
        return job, parsed, hung_up

    def _parsed(self, parse: Parse, raw: bytes, claims: InternalClaims) -> ParsedCall:
        call = parse(read_json(raw))
        if call.model not in (claims.model, claims.alias):
            raise CallError(
                400, "model_mismatch", "The call was admitted for another model.", param="model"
            )
        return call

    async def _fetched(self, job: Job, headers: Mapping[bytes, bytes], answer: Answer) -> None:
        assert self._fetch is not None
        if job.stream and wanted(headers):
            await answer.tell_while(self._fetch(job.model), self._telling(job))
        else:
            await self._fetch(job.model)

    def _telling(self, job: Job) -> Callable[[], bytes]:
        scheduler = self._scheduler
        return lambda: self._progress.comment(scheduler.ahead_of(job), scheduler.call_seconds)

    async def _answer(
        self,
        job: Job,
        parsed: ParsedCall,
        call: Call,
        answer: Answer,
        tell: Callable[[], bytes] | None,
    ) -> None:
        """A job that runs hears at its next token that it must end, and its usage is recorded
        before it does: until then the call is not over, even if nobody listens any more."""
        self._scheduler.submit(job)
        answer.reached_engine = True
        call.end = partial(self._cut, job, call)
        loop = asyncio.get_running_loop()
        clock = loop.call_later(self._surface.timeout_seconds, call.finish, timeout())
        try:
            await answer.give(job, parsed, tell)
        except CallError:
            if isinstance(call.error, ClientGone):
                raise call.error from None
            raise
        finally:
            clock.cancel()

    def _cut(self, job: Job, call: Call) -> None:
        job.cut = call.error if isinstance(call.error, CallError) else timeout()
        if self._scheduler.cancel(job):
            job.outbox.put(Failed(job.cut))


def _gone(call: Call, listening: "asyncio.Task[None]") -> None:
    if not listening.cancelled():
        call.finish(ClientGone())


def _headers(scope: Mapping[str, Any]) -> dict[bytes, bytes]:
    return dict(scope["headers"])
