"""Runs jobs on the engine: load, begin, step, record the usage, say how each ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog

from dormouse.events import Outcome, UsageEvent
from dormouse_predictors.base import Computation, GenerateRequest, Generation, Piece
from dormouse_predictors.errors import CallError, Cancelled, WeightsError, internal, timeout
from dormouse_predictors.jobs import Done, Failed, Item, Job
from dormouse_predictors.metrics import Metrics
from dormouse_predictors.resident import Resident
from dormouse_predictors.usage import Instance, event_of

_SMOOTHING = 0.2

_log = structlog.get_logger()


class Books(Protocol):
    """Where it is written what calls use: on disk when these return."""

    def begin(self, job: Job, event: UsageEvent, *, most: int | None, rate: float) -> None: ...

    def record(self, event: UsageEvent) -> None: ...


@dataclass(eq=False)
class _Running:
    """`pieces` are kept for an answer that is given whole."""

    job: Job
    call: Computation
    pieces: list[Piece] = field(default_factory=list)
    streaming: bool = False


class Worker:
    """`swapped` hears of another model and the milliseconds it took to load; `who` are we, in the
    books. For the engine's thread.
    """

    def __init__(
        self,
        resident: Resident,
        metrics: Metrics,
        *,
        books: Books,
        swapped: Callable[[str, int], None],
        who: Instance,
    ) -> None:
        self._resident = resident
        self._metrics = metrics
        self._books = books
        self._swapped = swapped
        self._who = who
        self._running: list[_Running] = []
        self._rate = 0.0  # completion tokens a second and call, smoothed
        self._waking_ms = 0
        self._woke_at = 0.0

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def parallel(self) -> int:
        """Jobs that can run at the same time."""
        return self._resident.engine.parallel

    def loaded(self) -> str | None:
        """The model that calls need not wait for."""
        return self._resident.loaded

    def may_begin(self, job: Job) -> bool:
        """Whether it may run beside those that do; else once they have ended."""
        if not self._running:
            return True
        engine = self._resident.engine
        room = len(self._running) < engine.parallel
        return room and self._resident.loaded == job.model and engine.beside(job.request)

    def woke(self, load_ms: int) -> None:
        """A model was loaded before there was a call: the first call's, which we woke for."""
        self._waking_ms = max(1, load_ms)
        self._woke_at = time.monotonic()

    def begin(self, job: Job) -> None:
        """Never raises: whatever happens, the job's outbox hears of it last."""
        job.started = time.monotonic()
        job.early_ms = max(0, round((self._woke_at - job.submitted) * 1000))
        with structlog.contextvars.bound_contextvars(request_id=job.request_id):
            refused = self._load(job)
            if refused is not None:
                job.outbox.put(refused)
                return
            job.meter.counted = partial(self._begun, job)
            claims = job.claims
            call = Computation(job.request, job.meter, claims.user, claims.priority)
            running = _Running(job, call)
            self._running.append(running)
            began = time.monotonic()
            try:
                self._resident.engine.begin(call)
            except Exception as error:
                call.end(error)
            job.compute_seconds += time.monotonic() - began
            self._deliver(running)

    def step(self) -> None:
        """A little more of every job that runs. Never raises."""
        began = time.monotonic()
        try:
            self._resident.engine.step()
        except Exception as error:
            for running in self._running:
                running.call.end(running.call.error or error)
        share = (time.monotonic() - began) / max(1, len(self._running))
        for running in list(self._running):
            # What the engine does for several at once is shared by them.
            running.job.compute_seconds += share
            self._deliver(running)

    def _load(self, job: Job) -> Failed | None:
        if job.meter.cancelled:
            return _cancelled(job)[0]
        try:
            job.load_ms = self._resident.ensure(job.model)
        except WeightsError as error:
            _log.error("model not loaded", model=job.model, error=str(error))
            text = f"The model {job.model} could not be loaded: {error}"
            return Failed(CallError(503, "waking_failed", text, retry_after=10))
        except CallError as error:  # there is no place for it; the model before stays
            return Failed(error)
        except Exception:
            _log.exception("model not loaded", model=job.model)
            return Failed(internal())
        if job.load_ms:
            self._metrics.load.labels(job.model).observe(job.load_ms / 1000)
            self._swapped(job.model, job.load_ms)
        job.load_ms += self._waking_ms
        self._waking_ms = 0
        return None

    def _begun(self, job: Job) -> None:
        """The prompt's tokens are known, and the engine is about to spend time on them. An answer
        that is given whole is none if we die in its middle: then there is nothing to charge."""
        job.meter.counted = _nothing
        if not job.stream:
            return
        event = event_of(job, "failed", now=time.monotonic(), by=self._who)
        self._books.begin(job, event, most=self._most(job), rate=self._rate)

    def _most(self, job: Job) -> int | None:
        """Completion tokens that the call may come to."""
        request = job.request
        if not isinstance(request, GenerateRequest):
            return 0
        asked = request.default_tokens if request.max_tokens is None else request.max_tokens
        context = self._resident.context(job.model)
        each = context if asked is None else min(asked, context)
        return len(request.prompts) * request.n * each

    def _deliver(self, running: _Running) -> None:
        job, call = running.job, running.call
        if call.pieces and job.stream:
            if not running.streaming:
                running.streaming = True
                waited = time.monotonic() - job.submitted
                self._metrics.first_token.labels(job.model).observe(waited)
            for piece in call.pieces:
                job.outbox.put(piece)
        elif call.pieces:
            running.pieces += call.pieces
        call.pieces.clear()
        if call.ended:
            self._running.remove(running)
            with structlog.contextvars.bound_contextvars(request_id=job.request_id):
                job.outbox.put(self._ended(running))

    def _ended(self, running: _Running) -> Item:
        job = running.job
        end, outcome = _end(running)
        event = event_of(job, outcome, now=time.monotonic(), by=self._who)
        try:
            self._books.record(event)
        except OSError:
            # What cannot be recorded must not be given away.
            _log.exception("usage not recorded", model=job.model)
            end = Failed(internal())
        else:
            job.event = event
        self._count(job, event)
        return end

    def _count(self, job: Job, event: UsageEvent) -> None:
        metrics = self._metrics
        metrics.requests.labels(job.endpoint, job.model, event.outcome).inc()
        metrics.tokens.labels(job.model, "prompt").inc(event.prompt_tokens)
        metrics.tokens.labels(job.model, "completion").inc(event.completion_tokens)
        seconds = time.monotonic() - job.started
        if event.completion_tokens:
            rate = event.completion_tokens / seconds
            self._rate += _SMOOTHING * (rate - self._rate) if self._rate else rate
        _log.info(
            "call",
            endpoint=job.endpoint,
            model=job.model,
            outcome=event.outcome,
            prompt_tokens=event.prompt_tokens,
            completion_tokens=event.completion_tokens,
            ms=event.duration_ms,
        )


def _end(running: _Running) -> tuple[Item, Outcome]:
    job, call = running.job, running.call
    if call.error is None:
        if job.stream:
            return Done(None), "completed"
        return Done(call.embedded or Generation.of(running.pieces)), "completed"
    if isinstance(call.error, Cancelled):
        return _cancelled(job)
    if isinstance(call.error, CallError):
        return Failed(call.error), "failed"
    _log.error("engine failed", model=job.model, exc_info=call.error)
    return Failed(internal()), "failed"


def _cancelled(job: Job) -> tuple[Failed, Outcome]:
    """Nobody waits any more, or time ran out, or the right to call did."""
    error = job.cut or timeout()
    return Failed(error), "revoked" if error.status == 403 else "cancelled"


def _nothing() -> None:
    return None
