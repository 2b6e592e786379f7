"""Runs one job on the engine: load, run or stream, record the usage, say how it ended."""

import time
from collections.abc import Callable

import structlog

from dormouse.events import Outcome, UsageEvent
from dormouse_predictors.base import Embedded, GenerateRequest, Generation
from dormouse_predictors.errors import (
    CallError,
    Cancelled,
    WeightsError,
    access_revoked,
    internal,
    timeout,
)
from dormouse_predictors.jobs import Done, Failed, Item, Job
from dormouse_predictors.metrics import Metrics
from dormouse_predictors.resident import Resident
from dormouse_predictors.usage import event_of

_log = structlog.get_logger()


class Worker:
    """`record` must have the event on disk when it returns; `swapped` hears of another model."""

    def __init__(
        self,
        resident: Resident,
        metrics: Metrics,
        *,
        record: Callable[[UsageEvent], None],
        swapped: Callable[[str], None],
    ) -> None:
        self._resident = resident
        self._metrics = metrics
        self._record = record
        self._swapped = swapped

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
        return None

    def _run(self, job: Job) -> Item:
        outcome: Outcome = "failed"
        end: Item
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
        try:
            self._record(event_of(job, outcome, now=time.monotonic()))
        except OSError:
            # What cannot be recorded must not be given away.
            _log.exception("usage not recorded", model=job.model)
            end = Failed(internal())
        self._count(job, outcome)
        return end

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

    def _count(self, job: Job, outcome: str) -> None:
        metrics, meter = self._metrics, job.meter
        metrics.requests.labels(job.endpoint, job.model, outcome).inc()
        metrics.tokens.labels(job.model, "prompt").inc(meter.prompt_tokens)
        metrics.tokens.labels(job.model, "completion").inc(meter.completion_tokens)
        _log.info(
            "call",
            endpoint=job.endpoint,
            model=job.model,
            outcome=outcome,
            prompt_tokens=meter.prompt_tokens,
            completion_tokens=meter.completion_tokens,
            ms=round((time.monotonic() - job.submitted) * 1000),
        )


def _cancelled(job: Job) -> tuple[Failed, Outcome]:
    if job.revoked:
        return Failed(access_revoked()), "revoked"
    return Failed(timeout()), "cancelled"
