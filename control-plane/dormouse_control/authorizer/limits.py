"""Requests per minute and user: a token bucket. Pure; time is handed in, in seconds."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

KEPT = 50_000


@dataclass(frozen=True)
class RequestLimit:
    """`whose` is the id of a key or a user."""

    whose: str
    per_minute: int


@dataclass
class _Bucket:
    tokens: float
    at: float


class RequestLimits:
    """A full bucket holds one minute's requests and refills evenly."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, limit: RequestLimit, *, now: float) -> float:
        """0 if the request may go on, else the seconds until the next one may."""
        bucket = self._bucket(limit, now=now)
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0.0
        return (1 - bucket.tokens) * 60 / limit.per_minute

    def set_aside(self, limits: Sequence[RequestLimit], most: int, *, now: float) -> int:
        """Take a share of what is left of every limit, at most `most`; returns how much."""
        buckets = [self._bucket(limit, now=now) for limit in limits]
        share = min([most, *(int(bucket.tokens / 4) for bucket in buckets)])
        for bucket in buckets:
            bucket.tokens -= share
        return share

    def give_back(self, limits: Sequence[RequestLimit], requests: int, *, now: float) -> None:
        for limit in limits:
            bucket = self._bucket(limit, now=now)
            bucket.tokens = min(float(limit.per_minute), bucket.tokens + requests)

    def _bucket(self, limit: RequestLimit, *, now: float) -> _Bucket:
        full = float(limit.per_minute)
        bucket = self._buckets.get(limit.whose)
        if bucket is None:
            bucket = self._buckets[limit.whose] = _Bucket(full, now)
            if len(self._buckets) > KEPT:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(limit.whose)
        bucket.tokens = min(full, bucket.tokens + (now - bucket.at) * full / 60)
        bucket.at = now
        return bucket
