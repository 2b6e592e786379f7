"""Runs one job on the engine: load, run or stream, record the usage, say how it ended."""

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import structlog

from dormouse.events import Outcome, UsageEvent
from dormouse_predictors.base import Embedded, GenerateRequest, Generation
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


class Worker:
    """`swapped` hears of another model; `who` are we, in the books."""

    def __init__(
        self,
        resident: Resident,
        metrics: Metrics,
        *,
        books: Books,
        swapped: Callable[[str], None],
        who: Instance,
    ) -> None:
        self._resident = resident
        self._metrics = metrics
        self._books = books
        self._swapped = swapped
        self._who = who
        self._rate = 0.0  # completion tokens a second, smoothed
        self._waking_ms = 0

    def woke(self, load_ms: int) -> None:
        """A model was loaded before there was a call: the first call's, which we woke for."""
        self._waking_ms = max(1, load_ms)

    def work(self, job: Job) -> None:
        """Never raises: whatever happens, the job's outbox hears of it last."""
        job.started = time.monotonic()
        with structlog.contextvars.bound_contextvars(request_id=job.request_id):
            refused = self._load(job)
            job.outbox.put(refused or self._run(job))

    def _load(self, job: Job) -> Failed | None:
        if job.meter.cancelled:
            return _cancelled(job)[0]
        try:
            job.load_ms = self._resident.ensure(job.model)
        except WeightsError as error:
            _log.error("model not loaded", model=job.model, error=str(error))
            text = f"The model {job.model} could not be loaded: {error}"
            return Failed(CallError(503, "waking_failed", text, retry_after=10))
        except Exception:
            _log.exception("model not loaded", model=job.model)
            return Failed(internal())
        if job.load_ms:
            self._metrics.load.labels(job.model).observe(job.load_ms / 1000)
            self._swapped(job.model)
        job.load_ms += self._waking_ms
        self._waking_ms = 0
        return None

    def _run(self, job: Job) -> Item:
        outcome: Outcome = "failed"
        end: Item
        job.computing = time.monotonic()
        job.meter.counted = partial(self._begin, job)
        try:
            end = Done(self._answer(job))
            outcome = "completed"
        except Cancelled:
            end, outcome = _cancelled(job)
        except CallError as error:
            end = Failed(error)
        except Exception:
            _log.exception("engine failed", model=job.model)
            end = Failed(internal())
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

    def _begin(self, job: Job) -> None:
        """The prompt's tokens are known, and the engine is about to spend time on them."""
        job.meter.counted = _nothing
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

    def _answer(self, job: Job) -> Generation | Embedded | None:
        engine = self._resident.engine
        if not (job.stream and isinstance(job.request, GenerateRequest)):
            return engine.run(job.request, job.meter)
        first = True
        for piece in engine.stream(job.request, job.meter):
            if first:
                waited = time.monotonic() - job.submitted
                self._metrics.first_token.labels(job.model).observe(waited)
                first = False
            job.outbox.put(piece)
        return None

    def _count(self, job: Job, event: UsageEvent) -> None:
        metrics = self._metrics
        metrics.requests.labels(job.endpoint, job.model, event.outcome).inc()
        metrics.tokens.labels(job.model, "prompt").inc(event.prompt_tokens)
        metrics.tokens.labels(job.model, "completion").inc(event.completion_tokens)
        if event.completion_tokens and event.compute_ms:
            rate = event.completion_tokens * 1000 / event.compute_ms
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


def _cancelled(job: Job) -> tuple[Failed, Outcome]:
    """Nobody waits any more, or time ran out, or the right to call did."""
    error = job.cut or timeout()
    return Failed(error), "revoked" if error.status == 403 else "cancelled"


def _nothing() -> None:
    return None
