"""What a stream tells while its answer has not begun (`Prefer: dormouse-progress`).

Comments of server-sent events, which clients that do not look for them never see:

    : dormouse {"stage": "loading", "percent": 40, "eta_ms": 1200}

`stage` is "downloading" or "loading" the model, "queued" behind `position` other calls, or
"answering", which is all that is known until the first token. `percent` and `eta_ms` are there as
far as somebody can tell. Event loop only.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any  # JSON

import orjson

from dormouse.preferences import PROGRESS, prefers

FIRST_SECONDS = 0.1
"""Who is answered sooner than that is not told that it will take a while."""

EVERY_SECONDS = 1.0


class Progress:
    """Of one predictor. `expected_load_ms` is how long loading a model took before."""

    def __init__(
        self,
        *,
        expected_load_ms: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expected = expected_load_ms
        self._clock = clock
        self._stage = "loading"
        self._percent: int | None = None
        self._since = clock()

    def note(self, stage: str, percent: int | None) -> None:
        """What the predictor does now: downloading, loading, or nothing of that kind ("ready")."""
        if stage != self._stage:
            self._since = self._clock()
        self._stage, self._percent = stage, percent

    def comment(self, position: int | None, call_seconds: float) -> bytes:
        """`position` is how many calls run before this one, each for `call_seconds` if that is
        known (0: it is not); None if this one runs itself.
        """
        told = {name: value for name, value in self._told(position, call_seconds).items()
                if value is not None}  # fmt: skip
        return b": dormouse " + orjson.dumps(told) + b"\n\n"

    def _told(self, position: int | None, call_seconds: float) -> Mapping[str, Any]:
        elapsed = (self._clock() - self._since) * 1000
        if self._stage == "downloading":
            left = None
            if self._percent:
                left = round(elapsed * (100 - self._percent) / self._percent)
            return {"stage": "downloading", "percent": self._percent, "eta_ms": left}
        if self._stage == "loading":
            if not self._expected:
                return {"stage": "loading"}
            done = min(0.99, elapsed / self._expected)
            left = round(max(0.0, self._expected - elapsed))
            return {"stage": "loading", "percent": int(done * 100), "eta_ms": left}
        if position is not None:
            wait = round(position * call_seconds * 1000) if call_seconds else None
            return {"stage": "queued", "position": position, "eta_ms": wait}
        return {"stage": "answering"}


def wanted(values: Mapping[bytes, bytes]) -> bool:
    """Whether the headers of a call ask for it."""
    found = values.get(b"prefer")
    return found is not None and prefers(found.decode("latin-1"), PROGRESS)
