"""What ended calls come to, for Prometheus and the log, and how fast tokens are made.

Prometheus's own look-up of a series takes longer than to count in it: each is kept.
"""

import time
from functools import cache

import structlog

from dormouse.events import UsageEvent
from dormouse_predictors.jobs import Job
from dormouse_predictors.metrics import Metrics

_SMOOTHING = 0.2


class Counts:
    """For the engine's thread."""

    def __init__(self, metrics: Metrics) -> None:
        self.rate = 0.0
        """Completion tokens a second and call, smoothed."""
        self._requests = cache(metrics.requests.labels)
        self._tokens = cache(metrics.tokens.labels)
        self._first_token = cache(metrics.first_token.labels)
        self._load = cache(metrics.load.labels)
        self._log = structlog.get_logger().bind()

    def first_token(self, job: Job) -> None:
        self._first_token(job.model).observe(time.monotonic() - job.submitted)

    def loaded(self, model: str, load_ms: int) -> None:
        self._load(model).observe(load_ms / 1000)

    def ended(self, job: Job, event: UsageEvent) -> None:
        self._requests(job.endpoint, job.model, event.outcome).inc()
        self._tokens(job.model, "prompt").inc(event.prompt_tokens)
        self._tokens(job.model, "completion").inc(event.completion_tokens)
        if event.completion_tokens:
            rate = event.completion_tokens / (time.monotonic() - job.started)
            self.rate += _SMOOTHING * (rate - self.rate) if self.rate else rate
        self._log.info(
            "call",
            request_id=job.request_id,
            endpoint=job.endpoint,
            model=job.model,
            outcome=event.outcome,
            prompt_tokens=event.prompt_tokens,
            completion_tokens=event.completion_tokens,
            ms=event.duration_ms,
        )
