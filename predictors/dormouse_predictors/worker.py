"""Runs jobs on the engine: load, begin, step, record the usage, say how each ended."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

import structlog

from dormouse.events import UsageEvent
from dormouse.unfinished import Begun
from dormouse_predictors.base import Computation
from dormouse_predictors.counts import Counts
from dormouse_predictors.errors import CallError, WeightsError, internal
from dormouse_predictors.jobs import Job
from dormouse_predictors.metrics import Metrics
from dormouse_predictors.outbox import Failed, Item
from dormouse_predictors.resident import Resident
from dormouse_predictors.running import Running, cancelled
from dormouse_predictors.usage import Instance, event_of

_log = structlog.get_logger()


class Books(Protocol):
    """Where it is written what calls use: on disk when these return, none of it if they raise
    OSError."""

    def begin(self, calls: Sequence[tuple[Job, Begun]]) -> None: ...

    def record(self, events: Sequence[UsageEvent]) -> None: ...


class Worker:
    """`swapped` hears of another model and the milliseconds it took to load; `who` are we, in the
    books. For the engine's thread.

    What several calls have to be written down for at the same moment is written at once.
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
        self._counts = Counts(metrics)
        self._books = books
        self._swapped = swapped
        self._who = who
        self._running: list[Running] = []
        self._counted: list[Running] = []  # their prompts are known, and the books do not know yet
        self._stepping = False
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
        refused = self._load(job)
        if refused is not None:
            job.outbox.put(refused)
            return
        claims = job.claims
        call = Computation(job.request, job.meter, claims.user, claims.priority)
        running = Running(job, call)
        job.meter.counted = partial(self._count, running)
        self._running.append(running)
        began = time.monotonic()
        try:
            self._resident.engine.begin(call)
        except Exception as error:
            call.end(error)
        job.compute_seconds += time.monotonic() - began
        self._deliver([running])

    def step(self) -> None:
        """A little more of every job that runs. Never raises."""
        self._note_counted()
        began = time.monotonic()
        self._stepping = True
        try:
            self._resident.engine.step()
        except Exception as error:
            for running in self._running:
                running.call.end(running.call.error or error)
        self._stepping = False
        share = (time.monotonic() - began) / max(1, len(self._running))
        for running in self._running:
            # What the engine does for several at once is shared by them.
            running.job.compute_seconds += share
        self._deliver(list(self._running))

    def _load(self, job: Job) -> Failed | None:
        if job.meter.cancelled:
            return cancelled(job)[0]
        if self._resident.loaded != job.model:
            with structlog.contextvars.bound_contextvars(request_id=job.request_id):
                refused = self._loaded(job)
            if refused is not None:
                return refused
        job.load_ms += self._waking_ms
        self._waking_ms = 0
        return None

    def _loaded(self, job: Job) -> Failed | None:
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
            self._counts.loaded(job.model, job.load_ms)
            self._swapped(job.model, job.load_ms)
        return None

    def _count(self, running: Running) -> None:
        """The prompt's tokens are known, and the engine is about to spend time on them: in the next
        step, if it is not in one already. An answer that is given whole is none if we die in its
        middle: then there is nothing to charge."""
        running.job.meter.counted = _nothing
        if not running.job.stream:
            return
        if self._stepping:
            self._note([running])
        else:
            self._counted.append(running)

    def _note_counted(self) -> None:
        counted = [running for running in self._counted if not running.call.ended]
        self._counted.clear()
        if not counted:
            return
        try:
            self._note(counted)
        except OSError:
            # What cannot be recorded must not be begun.
            _log.exception("usage not recorded")
            for running in counted:
                running.refused = internal()
                running.job.meter.cancel()

    def _note(self, counted: Iterable[Running]) -> None:
        """Raises OSError."""
        now, rate = time.monotonic(), self._counts.rate
        calls = []
        for running in counted:
            job = running.job
            event = event_of(job, "failed", now=now, by=self._who)
            most = running.most_tokens(self._resident.context(job.model))
            calls.append((job, Begun(event, most, rate)))
        self._books.begin(calls)

    def _deliver(self, ones: Sequence[Running]) -> None:
        for running in ones:
            if running.call.pieces:
                self._give_pieces(running)
        ended = [running for running in ones if running.call.ended]
        if ended:
            self._end(ended)

    def _give_pieces(self, running: Running) -> None:
        job, pieces = running.job, running.call.pieces
        if not job.stream:
            running.pieces += pieces
        else:
            if not running.streaming:
                running.streaming = True
                self._counts.first_token(job)
            for piece in pieces:
                job.outbox.put(piece)
        pieces.clear()

    def _end(self, ended: Sequence[Running]) -> None:
        now = time.monotonic()
        ends: list[tuple[Job, Item, UsageEvent]] = []
        for running in ended:
            self._running.remove(running)
            item, outcome = running.end()
            job = running.job
            ends.append((job, item, event_of(job, outcome, now=now, by=self._who)))
        recorded = self._recorded([event for _, _, event in ends])
        for job, item, event in ends:
            self._counts.ended(job, event)
            if recorded:
                job.event = event
            # What cannot be recorded must not be given away.
            job.outbox.put(item if recorded else Failed(internal()))

    def _recorded(self, events: Sequence[UsageEvent]) -> bool:
        try:
            self._books.record(events)
        except OSError:
            _log.exception("usage not recorded", calls=len(events))
            return False
        return True


def _nothing() -> None:
    return None
