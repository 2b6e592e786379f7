"""Usage events: on disk before a call ends, forwarded in the background until delivered.

What runs is noted too, from its beginning and four times a second, so that it is charged if we die.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from dormouse.events import Outcome, UsageEvent
from dormouse.spool import Send, SpoolWriter, forward_abandoned
from dormouse.unfinished import EVERY_SECONDS as PROGRESS_SECONDS
from dormouse.unfinished import Begun
from dormouse_predictors.jobs import Job

EVERY_SECONDS = 0.2
LONGEST_WAIT = 5.0

_log = structlog.get_logger()


@dataclass(frozen=True)
class Instance:
    """Us, in usage events: an id that no other ever has, and the GPUs that calls may use."""

    id: str | None = None
    gpus: int = 0


def event_of(job: Job, outcome: Outcome, *, now: float, by: Instance) -> UsageEvent:
    """`now` is a monotonic time, the moment at which the call ended."""
    claims = job.claims
    return UsageEvent(
        request_id=job.request_id,
        time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        user=claims.user,
        credential=claims.credential,
        service=claims.service,
        model=claims.model,
        endpoint=job.endpoint,
        outcome=outcome,
        prompt_tokens=job.meter.prompt_tokens,
        completion_tokens=job.meter.completion_tokens,
        duration_ms=round((now - job.submitted) * 1000),
        queue_ms=max(0, round((job.started - job.submitted) * 1000)),
        load_ms=job.load_ms,
        cold_start_ms=(claims.cold_start_ms or 0) + job.early_ms,
        version=claims.version,
        end_user=job.end_user,
        compute_ms=round(job.compute_seconds * 1000),
        gpus=by.gpus if job.meter.gpu_layers else 0,
        lease=claims.lease,
        predictor=by.id,
        tags=job.tags,
    )


class Reporter:
    """Appends to the spool and forwards events, in the background from threads of its own."""

    def __init__(self, folder: Path, send: Send) -> None:
        self._folder = folder
        self._send = send
        self._spool = SpoolWriter(folder)
        self._running: dict[str, Job] = {}
        self._closing = threading.Event()
        self._failing = False  # said once, not five times a second
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)
        self._noting = threading.Thread(target=self._note, name="progress", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._noting.start()

    def begin(self, calls: Sequence[tuple[Job, Begun]]) -> None:
        """These calls run; that is on disk when this returns."""
        self._spool.begin(*(begun for _, begun in calls))
        self._running.update((job.request_id, job) for job, _ in calls)

    def record(self, events: Sequence[UsageEvent]) -> None:
        """The events are on disk when this returns."""
        for event in events:
            self._running.pop(event.request_id, None)
        self._spool.append(*events)

    def pending(self) -> int:
        return self._spool.pending()

    def close(self, timeout: float) -> None:
        """Forward what is left, for at most about `timeout` seconds; the rest stays on disk."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        deadline = time.monotonic() + timeout
        while self._spool.pending() and not self._thread.is_alive() and self._forward() is None:
            if time.monotonic() >= deadline:
                break
            time.sleep(0.1)
        self._spool.close()

    def _run(self) -> None:
        self._adopt()
        wait = EVERY_SECONDS
        while not self._closing.wait(wait):
            sent = self._forward()
            wait = min(wait * 2, LONGEST_WAIT) if sent is None else EVERY_SECONDS

    def _note(self) -> None:
        while not self._closing.wait(PROGRESS_SECONDS):
            for job in list(self._running.values()):
                try:
                    self._spool.progress(
                        job.request_id,
                        prompt_tokens=job.meter.prompt_tokens,
                        completion_tokens=job.meter.completion_tokens,
                        compute_ms=round(job.compute_seconds * 1000),
                        running_ms=round((time.monotonic() - job.started) * 1000),
                    )
                except OSError as error:
                    _log.warning("progress not noted", error=str(error))

    def _forward(self) -> int | None:
        """How many were sent; None if they could not be."""
        if not self._spool.pending():
            return 0
        try:
            sent = self._spool.forward(self._send)
        except OSError as error:
            if not self._failing:
                _log.warning("usage not forwarded; kept", error=str(error))
            self._failing = True
            return None
        self._failing = False
        return sent

    def _adopt(self) -> None:
        """Events of a predictor that died before it could forward them."""
        try:
            sent = forward_abandoned(self._folder, self._send)
        except OSError as error:
            _log.warning("abandoned usage not forwarded", error=str(error))
        else:
            if sent:
                _log.info("abandoned usage forwarded", events=sent)
