"""Requests per minute and user: a token bucket. Pure; time is handed in, in seconds."""

from collections import OrderedDict
from dataclasses import dataclass

KEPT = 50_000


@dataclass
class _Bucket:
    tokens: float
    at: float


class RequestLimits:
    """A full bucket holds one minute's requests and refills evenly."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, user: str, *, per_minute: int, now: float) -> float:
        """0 if the request may go on, else the seconds until the next one may."""
        bucket = self._buckets.get(user)
        if bucket is None:
            bucket = self._buckets[user] = _Bucket(float(per_minute), now)
            if len(self._buckets) > KEPT:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(user)
        rate = per_minute / 60
        bucket.tokens = min(float(per_minute), bucket.tokens + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0.0
        return (1 - bucket.tokens) / rate
