"""One thread that owns the engine, and a bounded queue before it that refuses early."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from dormouse.queue import Entry, Queue, QueueFull
from dormouse_predictors.errors import CallError, internal, queue_full, stopping
from dormouse_predictors.jobs import Job
from dormouse_predictors.outbox import Failed
from dormouse_predictors.spacing import Spacing

_log = structlog.get_logger()


class Work(Protocol):
    """What is done with jobs, in the scheduler's thread."""

    @property
    def running(self) -> int: ...

    @property
    def parallel(self) -> int: ...

    def loaded(self) -> str | None: ...

    def may_begin(self, job: Job) -> bool: ...

    def begin(self, job: Job) -> None: ...

    def step(self) -> None: ...


def _at_once(act: Callable[[], None]) -> None:
    act()


class Scheduler:
    """Runs `first`, then jobs by `work` in the order of `dormouse.queue`, in a thread of its own.

    At most `limit` jobs wait, and none that would wait longer than `max_wait` seconds. `soon` calls
    something when all that is to be submitted by now has been: the thread is woken once for it.
    """

    def __init__(
        self,
        first: Callable[[], None],
        work: Work,
        *,
        limit: int,
        max_wait: float = 60.0,
        ageing_seconds: float = 30.0,
        soon: Callable[[Callable[[], None]], object] = _at_once,
    ) -> None:
        self._first = first
        self._work = work
        self._max_wait = max_wait
        self._soon = soon
        self._waiting: Queue[Job] = Queue(limit, ageing_seconds=ageing_seconds)
        self._spare = 0  # so many more can begin at once: who waits for that does not really
        self._spacing = Spacing()
        self._changed = threading.Condition()
        self._closing = self._waking = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Raises `CallError` (429) if it cannot wait, or would have to for too long."""
        entry = _entry(job)
        with self._changed:
            self._refuse_late(entry)
            try:
                gone = self._waiting.add(entry, spare=self._spare)
            except QueueFull:
                raise self._full(entry) from None
        if not self._waking:
            self._waking = True
            self._soon(self._wake)
        if gone is not None:
            gone.waiter.outbox.put(Failed(self._full(gone)))

    def _wake(self) -> None:
        self._waking = False
        with self._changed:
            self._changed.notify()

    def cancel(self, job: Job) -> bool:
        """Nobody waits for `job`. True if it had not begun: then it never will."""
        job.meter.cancel()
        with self._changed:
            return self._waiting.remove(job.key)

    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def call_seconds(self) -> float:
        """How long it takes from one call's end to the next's; 0: nobody knows."""
        return self._spacing.seconds

    def ahead_of(self, job: Job) -> int | None:
        """How many calls run before it; None if it does not wait."""
        with self._changed:
            try:
                return self._waiting.ahead_of(job.key, self._loaded(), time.monotonic())
            except KeyError:
                return None

    def refuse(self, error: CallError) -> None:
        """Take no more jobs, and end those that wait."""
        with self._changed:
            self._closing = True
            left = self._waiting.clear()
            self._changed.notify()
        for entry in left:
            entry.waiter.outbox.put(Failed(error))

    def close(self, timeout: float | None = None) -> None:
        """Let the jobs that run end, refuse the others, end the thread."""
        self.refuse(stopping())
        self._thread.join(timeout)

    def _refuse_late(self, entry: Entry[Job]) -> None:
        if self._closing:
            raise stopping()
        user, most = entry.user, entry.waiter.claims.max_queued
        if most is not None and self._waiting.of(user) - self._spare >= most:
            text = f"{self._waiting.of(user)} of your calls are waiting already, and no more may."
            # The first of them is served within one turn of everybody.
            raise queue_full(text, wait=self._waiting.users() * self._spacing.seconds)
        if len(self._waiting) * self._spacing.seconds <= self._max_wait:
            return
        wait = self._wait(entry)
        if wait > self._max_wait:
            raise queue_full(f"A call would have to wait for {wait:.0f} s now.", wait=wait)

    def _full(self, entry: Entry[Job]) -> CallError:
        text = f"{len(self._waiting)} calls are waiting already; try again soon."
        return queue_full(text, wait=self._wait(entry))

    def _wait(self, entry: Entry[Job]) -> float:
        """Seconds that a call would wait if it came now."""
        ahead = self._waiting.ahead_of_next(entry, self._loaded(), time.monotonic())
        return ahead * self._spacing.seconds

    def _loaded(self) -> tuple[str, ...]:
        found = self._work.loaded()
        return () if found is None else (found,)

    def _run(self) -> None:
        self._first()
        while True:
            with self._changed:
                self._spare = max(0, self._work.parallel - self._work.running)
                while not self._waiting and not self._work.running and not self._closing:
                    self._changed.wait()
                if self._closing and not self._work.running:
                    return
                job = self._next()
            self._turn(job)

    def _next(self) -> Job | None:
        """The one whose turn it is, if it may begin now. Those behind it wait with it: who wants
        another model would else wait for as long as others come."""
        if not self._waiting:
            return None
        loaded, now = self._loaded(), time.monotonic()
        if not self._work.may_begin(self._waiting.first(loaded, now).waiter):
            return None
        self._spare = max(0, self._spare - 1)
        return self._waiting.take(loaded, now).waiter

    def _turn(self, job: Job | None) -> None:
        before, began = self._work.running, time.monotonic()
        try:
            if job is not None:
                self._work.begin(job)
            else:
                self._work.step()
        except Exception:
            # This thread is all that answers: a defect costs one call, not every later one.
            _log.exception("work broke", request_id=job.request_id if job else None)
            if job is not None:
                job.outbox.put(Failed(internal()))
        if not before:
            self._spacing.resume(began)
        self._spacing.note(before + (job is not None) - self._work.running, time.monotonic())


def _entry(job: Job) -> Entry[Job]:
    claims = job.claims
    return Entry(job.key, claims.user, job.model, claims.priority, time.monotonic(), job)
