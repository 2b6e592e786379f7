"""First come, first served: one thread that owns the engine, and a bounded queue before it."""

import threading
from collections import deque
from collections.abc import Callable

import structlog

from dormouse_predictors.errors import CallError, internal
from dormouse_predictors.jobs import Failed, Job

_log = structlog.get_logger()


class Scheduler:
    """Runs `first`, then `work` for one job after another, in a thread of its own."""

    def __init__(
        self, first: Callable[[], None], work: Callable[[Job], None], *, limit: int
    ) -> None:
        self._first = first
        self._work = work
        self._limit = limit
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Raises `CallError` if as many jobs wait as may."""
        with self._changed:
            if self._closing or len(self._waiting) >= self._limit:
                raise CallError(
                    429,
                    "queue_full",
                    f"{len(self._waiting)} calls are waiting already; try again soon.",
                    retry_after=1,
                )
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> bool:
        """Nobody waits for `job`. True if it had not begun: then it never will."""
        job.meter.cancel()
        with self._changed:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            return True

    def waiting(self) -> int:
        return len(self._waiting)

    def close(self, timeout: float | None = None) -> None:
        """Let the job that runs end, forget the others, end the thread."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        self._first()
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                job = self._waiting.popleft()
            try:
                self._work(job)
            except Exception:
                # This thread is all that answers: a defect costs one call, not every later one.
                _log.exception("work broke", request_id=job.request_id)
                job.outbox.put(Failed(internal()))
