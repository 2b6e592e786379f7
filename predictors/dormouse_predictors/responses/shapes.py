"""What the answers of all endpoints share."""

from dataclasses import dataclass
from typing import Any  # JSON

import orjson

from dormouse_predictors.base import Meter, TokenLogprob

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Head:
    """`model` is the name that the caller asked for."""

    id: str
    created: int
    model: str


def usage(meter: Meter) -> dict[str, int]:
    return {
        "prompt_tokens": meter.prompt_tokens,
        "completion_tokens": meter.completion_tokens,
        "total_tokens": meter.prompt_tokens + meter.completion_tokens,
    }


def event(document: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


def readable(token: bytes) -> str:
    return token.decode("utf-8", "replace")


def chosen(entry: TokenLogprob) -> dict[str, Any]:
    return one(entry.token, entry.logprob) | {"top_logprobs": [one(*other) for other in entry.top]}


def one(token: bytes, logprob: float) -> dict[str, Any]:
    return {"token": readable(token), "logprob": max(logprob, -9999.0), "bytes": list(token)}
