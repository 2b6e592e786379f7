"""One thread that owns the engine, and a bounded queue before it that refuses early."""

import threading
import time
from collections.abc import Callable

import structlog

from dormouse_predictors.errors import CallError, internal, queue_full
from dormouse_predictors.jobs import Failed, Job
from dormouse_predictors.waiting import Waiting

_SMOOTHING = 0.2

_log = structlog.get_logger()


class Scheduler:
    """Runs `first`, then `work` for one job after another, in a thread of its own.

    At most `limit` jobs wait, and none that would wait longer than `max_wait` seconds.
    """

    def __init__(
        self,
        first: Callable[[], None],
        work: Callable[[Job], None],
        *,
        limit: int,
        max_wait: float = 60.0,
    ) -> None:
        self._first = first
        self._work = work
        self._limit = limit
        self._max_wait = max_wait
        self._waiting = Waiting()
        self._busy = True  # with `first`, or a job; if not, the first that waits does not really
        self._call_seconds = 0.0  # smoothed; 0 as long as nobody knows
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Raises `CallError` (429) if it cannot wait, or would have to for too long."""
        with self._changed:
            self._refuse_late(job)
            if len(self._waiting) - (not self._busy) >= self._limit:
                self._make_room(job.claims.user, job.claims.priority)
            self._waiting.add(job)
            self._changed.notify()

    def cancel(self, job: Job) -> bool:
        """Nobody waits for `job`. True if it had not begun: then it never will."""
        job.meter.cancel()
        with self._changed:
            return self._waiting.remove(job)

    def waiting(self) -> int:
        return len(self._waiting)

    def close(self, timeout: float | None = None) -> None:
        """Let the job that runs end, forget the others, end the thread."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._changed.notify()
        self._thread.join(timeout)

    def _refuse_late(self, job: Job) -> None:
        if self._closing:
            raise queue_full("This predictor is being stopped; try again.", wait=1)
        user, most = job.claims.user, job.claims.max_queued
        if most is not None and self._waiting.of(user) - (not self._busy) >= most:
            text = f"{self._waiting.of(user)} of your calls are waiting already, and no more may."
            # The first of them is served within one turn of everybody.
            raise queue_full(text, wait=self._waiting.users() * self._call_seconds)
        wait = self._waiting.ahead_of_next(user, job.claims.priority) * self._call_seconds
        if wait > self._max_wait:
            raise queue_full(f"A call would have to wait for {wait:.0f} s now.", wait=wait)

    def _make_room(self, user: str, priority: int) -> None:
        """Room is shared by users: who has most gives way to who would still have fewer."""
        last = self._waiting.last_of_greediest()
        if self._waiting.of(last.claims.user) <= self._waiting.of(user) + 1:
            raise self._full(user, priority)
        self._waiting.remove(last)
        last.outbox.put(Failed(self._full(last.claims.user, last.claims.priority)))

    def _full(self, user: str, priority: int) -> CallError:
        text = f"{len(self._waiting)} calls are waiting already; try again soon."
        return queue_full(
            text, wait=self._waiting.ahead_of_next(user, priority) * self._call_seconds
        )

    def _run(self) -> None:
        self._first()
        while True:
            with self._changed:
                self._busy = False
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                job = self._waiting.take()
                self._busy = True
            began = time.monotonic()
            try:
                self._work(job)
            except Exception:
                # This thread is all that answers: a defect costs one call, not every later one.
                _log.exception("work broke", request_id=job.request_id)
                job.outbox.put(Failed(internal()))
            self._note(time.monotonic() - began)

    def _note(self, seconds: float) -> None:
        known = self._call_seconds
        self._call_seconds = known + _SMOOTHING * (seconds - known) if known else seconds
