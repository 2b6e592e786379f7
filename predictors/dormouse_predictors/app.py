"""The HTTP surface of a predictor: a bare ASGI application.

Inference calls need an internal token and are answered here. A few GET paths of KServe's protocol
pass to `probes` without one. Everything else is not there.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any  # ASGI messages

import structlog

from dormouse.events import UsageEvent
from dormouse.rate_limits import HEADER, limit_headers
from dormouse_predictors import health, receiving
from dormouse_predictors.answers import Answer, Send
from dormouse_predictors.arriving import Arriving
from dormouse_predictors.calls import Call, Expiring, Hearing, Interrupted
from dormouse_predictors.errors import CallError, internal, timeout
from dormouse_predictors.intake import Intake
from dormouse_predictors.jobs import Job
from dormouse_predictors.later import Later
from dormouse_predictors.meters import Metering
from dormouse_predictors.outbox import Bell, Failed, Outbox
from dormouse_predictors.progress import Progress, wanted
from dormouse_predictors.receiving import ClientGone, Incoming, Receive
from dormouse_predictors.requests.fields import ParsedCall
from dormouse_predictors.revoked import Revoked
from dormouse_predictors.scheduler import Scheduler
from dormouse_predictors.surface import ENDPOINTS, Surface
from dormouse_predictors.witness import Witness

HEARING_SECONDS = 0.02
"""Who is answered sooner than that is answered, whether they have hung up meanwhile or not."""

_log = structlog.get_logger()


class Application:
    """`refused` hears the code of every call that did not reach the engine, `busy` how many calls
    are in flight; `draining` makes answers close connections. `fetch` gives something to wait for
    if a model's weights are not here."""

    def __init__(
        self,
        surface: Surface,
        scheduler: Scheduler,
        probes: Any,
        *,
        refused: Callable[[str], None] = lambda _: None,
        busy: Callable[[int], None] = lambda _: None,
        fetch: Callable[[str], Coroutine[Any, Any, None] | None] | None = None,
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
        self._bell = Bell(asyncio.get_running_loop())
        self._hearing: Later[Hearing] = Later(HEARING_SECONDS, Hearing.listen)
        self._clock: Later[Call] = Later(surface.timeout_seconds, _time_is_over)
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
        finally:
            answer.close()

    def at_work(self) -> int:
        """Calls that are more to us than a body which may never be whole."""
        return self.in_flight - self._arriving.calls

    async def _counted(
        self, path: str, headers: Mapping[bytes, bytes], receive: Receive, answer: Answer
    ) -> None:
        self.in_flight += 1
        self._busy(self.in_flight)
        try:
            await self._metered(path, headers, receive, answer)
        finally:
            self.in_flight -= 1
            self._busy(self.in_flight)

    async def _metered(
        self, path: str, headers: Mapping[bytes, bytes], receive: Receive, answer: Answer
    ) -> None:
        claims = self._surface.verify(receiving.bearer(headers))
        answer.limits = limit_headers(headers.get(HEADER))
        record = self._metering.begin(claims)
        event: UsageEvent | None = None
        try:
            self.intake.check(self.at_work())
            with self._revoked.watched(claims) as call, Expiring(call):
                hearing = Hearing(call, receive)
                try:
                    job, parsed = await self._received(call, path, headers, hearing, answer)
                    try:
                        tell = self._telling(job) if wanted(headers) else None
                        await self._answer(job, parsed, call, answer, tell)
                    finally:
                        event = job.event
                finally:
                    self._hearing.discard(hearing)
                    hearing.stop()
        finally:
            self._metering.end(claims, record, event)

    async def _received(
        self,
        call: Call,
        path: str,
        headers: Mapping[bytes, bytes],
        hearing: Hearing,
        answer: Answer,
    ) -> tuple[Job, ParsedCall]:
        """The call as a job whose model's weights are here."""
        claims, surface = call.claims, self._surface
        endpoint, parse = surface.endpoint(path)
        tags = receiving.tags(headers)
        with Interrupted(call):
            raw = await surface.body(claims, headers, hearing.receive, self._arriving)
            self._hearing.add(hearing)
            answer.closing = self.draining
            parsed = await surface.parsed(parse, raw, claims)
            job = Job(
                request_id=receiving.request_id(headers),
                endpoint=endpoint,
                claims=claims.asked_for(parsed.priority),
                request=parsed.request,
                stream=parsed.stream,
                outbox=Outbox(self._bell),
                end_user=parsed.end_user,
                tags=tags,
            )
            fetching = None if self._fetch is None else self._fetch(job.model)
            if fetching is not None:
                with structlog.contextvars.bound_contextvars(request_id=job.request_id):
                    if job.stream and wanted(headers):
                        await answer.tell_while(fetching, self._telling(job))
                    else:
                        await fetching
        return job, parsed

    def _telling(self, job: Job) -> Callable[[], bytes]:
        scheduler = self._scheduler
        return lambda: self._progress.comment(
            job.model, scheduler.ahead_of(job), scheduler.call_seconds
        )

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
        self._clock.add(call)
        try:
            await answer.give(job, parsed, tell)
        except CallError:
            if isinstance(call.error, ClientGone):
                raise call.error from None
            raise
        finally:
            self._clock.discard(call)

    def _cut(self, job: Job, call: Call) -> None:
        job.cut = call.error if isinstance(call.error, CallError) else timeout()
        if self._scheduler.cancel(job):
            job.outbox.put(Failed(job.cut))


def _time_is_over(call: Call) -> None:
    call.finish(timeout())


def _headers(scope: Mapping[str, Any]) -> dict[bytes, bytes]:
    """The last one of each name, but all preferences: clients may send several fields of these."""
    fields: list[tuple[bytes, bytes]] = scope["headers"]
    found = dict(fields)
    if b"prefer" in found:
        found[b"prefer"] = b", ".join(value for name, value in fields if name == b"prefer")
    return found
