"""text_completion, whole and streamed."""

from collections.abc import Sequence
from typing import Any  # JSON

from dormouse_predictors.base import Generation, Meter, Piece, TokenLogprob
from dormouse_predictors.responses.shapes import Head, event, readable, usage

PREFIX = "cmpl-"


def whole(head: Head, result: Generation, meter: Meter, *, logprobs: bool) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "text": choice.text,
            "logprobs": _logprobs(choice.logprobs, 0) if logprobs else None,
            "finish_reason": choice.finish_reason,
        }
        for index, choice in enumerate(result.choices)
    ]
    return _envelope(head, choices) | {"usage": usage(meter)}


class Stream:
    """The events of one streamed answer."""

    def __init__(self, head: Head, *, logprobs: bool, include_usage: bool) -> None:
        self._head = head
        self._logprobs = logprobs
        self._include_usage = include_usage
        self._offsets: dict[int, int] = {}

    def piece(self, piece: Piece) -> bytes:
        offset = self._offsets.get(piece.index, 0)
        shown = _logprobs(piece.logprobs, offset) if self._logprobs else None
        self._offsets[piece.index] = offset + sum(
            len(readable(entry.token)) for entry in piece.logprobs
        )
        choice = {
            "index": piece.index,
            "text": piece.text,
            "logprobs": shown,
            "finish_reason": piece.finish_reason,
        }
        found = _envelope(self._head, [choice])
        return event(found | {"usage": None} if self._include_usage else found)

    def end(self, meter: Meter) -> bytes:
        if not self._include_usage:
            return b""
        return event(_envelope(self._head, []) | {"usage": usage(meter)})


def _envelope(head: Head, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": head.id,
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "choices": choices,
    }


def _logprobs(entries: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    tokens = [readable(entry.token) for entry in entries]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [max(entry.logprob, -9999.0) for entry in entries],
        "top_logprobs": [
            {readable(token): max(value, -9999.0) for token, value in entry.top}
            for entry in entries
        ],
        "text_offset": offsets,
    }
