"""chat.completion and chat.completion.chunk."""

from collections.abc import Sequence
from typing import Any  # JSON

from dormouse_predictors.base import Generation, Meter, Piece, TokenLogprob
from dormouse_predictors.responses.shapes import Head, chosen, event, usage

PREFIX = "chatcmpl-"


def whole(head: Head, result: Generation, meter: Meter, *, logprobs: bool) -> dict[str, Any]:
    return {
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": choice.text, "refusal": None},
                "logprobs": _logprobs(choice.logprobs) if logprobs else None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(result.choices)
        ],
        "usage": usage(meter),
    }


class Stream:
    """The events of one streamed answer. A choice opens with its role, closes with its reason."""

    def __init__(self, head: Head, *, logprobs: bool, include_usage: bool) -> None:
        self._head = head
        self._logprobs = logprobs
        self._include_usage = include_usage
        self._opened: set[int] = set()

    def piece(self, piece: Piece) -> bytes:
        out = b""
        if piece.index not in self._opened:
            self._opened.add(piece.index)
            out += self._chunk(piece.index, {"role": "assistant", "content": ""})
        if piece.text or piece.logprobs:
            out += self._chunk(piece.index, {"content": piece.text}, piece.logprobs)
        if piece.finish_reason:
            out += self._chunk(piece.index, {}, reason=piece.finish_reason)
        return out

    def end(self, meter: Meter) -> bytes:
        if not self._include_usage:
            return b""
        return event(self._envelope([]) | {"usage": usage(meter)})

    def _chunk(
        self,
        index: int,
        delta: dict[str, str],
        entries: Sequence[TokenLogprob] = (),
        *,
        reason: str | None = None,
    ) -> bytes:
        shown = _logprobs(entries) if self._logprobs and delta.get("content") is not None else None
        choice = {"index": index, "delta": delta, "logprobs": shown, "finish_reason": reason}
        return event(self._envelope([choice]))

    def _envelope(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        found = {
            "id": self._head.id,
            "object": "chat.completion.chunk",
            "created": self._head.created,
            "model": self._head.model,
            "choices": choices,
        }
        return found | {"usage": None} if self._include_usage else found


def _logprobs(entries: Sequence[TokenLogprob]) -> dict[str, Any]:
    return {"content": [chosen(entry) for entry in entries], "refusal": None}
