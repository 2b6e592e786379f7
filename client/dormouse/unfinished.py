"""Calls that a spool's process began and did not end: the lines about them, and what they cost.

    {"began": <the usage event as it is known so far>, "most": …, "rate": …}
    {"progress": "<request id>", "prompt_tokens": …, "completion_tokens": …, "compute_ms": …,
     "running_ms": …}

The usage event itself ends a call. Who dies before wrote its last line some moments earlier, so
the worth of these moments is what the call may have got too, and is charged for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any  # lines are JSON

import orjson

from dormouse.events import EventError, UsageEvent, from_cloudevent, to_cloudevent

EVERY_SECONDS = 0.25
"""How often progress is written down."""

UNSEEN_SECONDS = 0.5
"""Older than that no line is when its process dies: who writes it may have to wait for a turn."""


@dataclass(frozen=True)
class Begun:
    """What is known of a call that runs from now on. `most`: completion tokens that it may have at
    most. `rate`: how many calls like it get in a second, should it end before there is any
    progress.
    """

    event: UsageEvent
    most: int | None = None
    rate: float = 0.0


def began(call: Begun) -> bytes:
    return _line({"began": to_cloudevent(call.event), "most": call.most, "rate": call.rate})


def progress(
    request_id: str,
    *,
    prompt_tokens: int,
    completion_tokens: int,
    compute_ms: int,
    running_ms: int = 0,
) -> bytes:
    """`running_ms` is more than `compute_ms` for a call that others run beside; 0: not known."""
    return _line(
        {
            "progress": request_id,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "compute_ms": compute_ms,
            "running_ms": running_ms,
        }
    )


class Unfinished:
    """Reads a spool's lines in order, and keeps those about calls without an event."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def event(self, line: Any) -> dict[str, Any] | None:
        """The usage event that a line of JSON is; None for one that only prepares for it."""
        if not isinstance(line, dict):
            return None
        if isinstance(line.get("began"), dict):
            self._calls[str(line["began"].get("id"))] = (line, {})
            return None
        if "progress" in line:
            call = self._calls.get(str(line["progress"]))
            if call is not None:
                call[1].update(line)
            return None
        self._calls.pop(str(line.get("id")), None)
        return line

    def estimates(self) -> list[dict[str, Any]]:
        """An event of each call that has none, and never will."""
        found = []
        for call, progress in self._calls.values():
            try:
                found.append(to_cloudevent(_estimate(call, progress)))
            except (EventError, ArithmeticError, KeyError, TypeError, ValueError):
                continue  # damaged on disk, and nobody's call any more
        return found


def _estimate(call: Mapping[str, Any], progress: Mapping[str, Any]) -> UsageEvent:
    event = from_cloudevent(call["began"])
    made = max(event.completion_tokens, progress.get("completion_tokens", 0))
    compute_ms = max(event.compute_ms, progress.get("compute_ms", 0))
    running_ms = progress.get("running_ms") or compute_ms
    rate = made * 1000 / running_ms if made and running_ms else call["rate"]
    tokens = made + math.ceil(rate * UNSEEN_SECONDS)
    if call["most"] is not None:
        tokens = max(made, min(tokens, call["most"]))
    share = min(1.0, compute_ms / running_ms) if running_ms else 1.0
    unseen_ms = UNSEEN_SECONDS * 1000
    data = {
        "outcome": "failed",
        "estimated": True,
        "prompt_tokens": max(event.prompt_tokens, progress.get("prompt_tokens", 0)),
        "completion_tokens": tokens,
        "compute_ms": compute_ms + round(unseen_ms * share),
        "duration_ms": event.duration_ms + running_ms - event.compute_ms + round(unseen_ms),
    }
    return from_cloudevent({**call["began"], "data": {**call["began"]["data"], **data}})


def _line(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
