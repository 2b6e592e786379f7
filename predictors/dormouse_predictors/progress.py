"""What a stream tells while its answer has not begun (`Prefer: dormouse-progress`).

Comments of server-sent events, which clients that do not look for them never see:

    : dormouse {"stage": "loading", "percent": 40, "eta_ms": 1200}

`stage` is "downloading" or "loading" the call's model, "queued" behind `position` other calls, or
"answering", which is all that is known until the first token. `percent` and `eta_ms` are there as
far as somebody can tell. Event loop only.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any  # JSON

import orjson

from dormouse.preferences import PROGRESS, prefers

FIRST_SECONDS = 0.1
"""Who is answered sooner than that is not told that it will take a while."""

EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Stage:
    """What is done to a model: "downloading" or "loading" it, since when, and how far that is."""

    name: str
    percent: int | None
    since: float


class Progress:
    """Of one predictor's models. `model` is loaded from the beginning on, which took it
    `expected_load_ms` before."""

    def __init__(
        self,
        model: str | None = None,
        *,
        expected_load_ms: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._expected: dict[str, int] = {}
        self._stages: dict[str, Stage] = {}
        if model is not None:
            self.note(model, "loading", None)
            if expected_load_ms is not None:
                self.learn(model, expected_load_ms)

    def note(self, model: str, stage: str, percent: int | None) -> None:
        """What the predictor does with it: "downloading", "loading", or no more ("ready")."""
        before = self._stages.pop(model, None)
        if stage != "ready":
            same = before is not None and before.name == stage
            since = before.since if before is not None and same else self._clock()
            self._stages[model] = Stage(stage, percent, since)

    def learn(self, model: str, load_ms: int) -> None:
        """It takes so long to load."""
        self._expected[model] = load_ms

    def foremost(self) -> tuple[str, Stage] | None:
        """The model that is being loaded, else one that is downloaded, if any is."""
        found = sorted(self._stages.items(), key=lambda each: each[1].name != "loading")
        return found[0] if found else None

    def comment(self, model: str, position: int | None, call_seconds: float) -> bytes:
        """For a call to `model`. `position` is how many calls begin before this one, and the time
        from one call's end to the next's is `call_seconds` if that is known (0: it is not);
        position None if this one runs itself.
        """
        told = {name: value for name, value in self._told(model, position, call_seconds).items()
                if value is not None}  # fmt: skip
        return b": dormouse " + orjson.dumps(told) + b"\n\n"

    def _told(self, model: str, position: int | None, call_seconds: float) -> Mapping[str, Any]:
        stage = self._stages.get(model)
        if stage is not None:
            return self._staged(stage, self._expected.get(model))
        if position is not None:
            # Those that run by now must end too before as many have begun.
            wait = round((position + 1) * call_seconds * 1000) if call_seconds else None
            return {"stage": "queued", "position": position, "eta_ms": wait}
        return {"stage": "answering"}

    def _staged(self, stage: Stage, expected: int | None) -> Mapping[str, Any]:
        elapsed = (self._clock() - stage.since) * 1000
        if stage.name == "downloading":
            left = None
            if stage.percent:
                left = round(elapsed * (100 - stage.percent) / stage.percent)
            return {"stage": "downloading", "percent": stage.percent, "eta_ms": left}
        if not expected:
            return {"stage": "loading"}
        done = min(0.99, elapsed / expected)
        left = round(max(0.0, expected - elapsed))
        return {"stage": "loading", "percent": int(done * 100), "eta_ms": left}


def wanted(values: Mapping[bytes, bytes]) -> bool:
    """Whether the headers of a call ask for it."""
    found = values.get(b"prefer")
    return found is not None and prefers(found.decode("latin-1"), PROGRESS)
