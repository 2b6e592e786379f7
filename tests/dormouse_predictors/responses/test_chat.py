"""Literal objects: what the OpenAI API reference shows."""

import json
from typing import Any

from dormouse_predictors.base import Choice, Generation, Meter, Piece, TokenLogprob
from dormouse_predictors.responses import chat
from dormouse_predictors.responses.shapes import Head

HEAD = Head("chatcmpl-1", 1700000000, "asked-name")
ENTRY = TokenLogprob(b"h\xc3", -0.5, ((b"h\xc3", -0.5), (b"x", float("-inf"))))
SHOWN = {
    "token": "h\ufffd",
    "logprob": -0.5,
    "bytes": [104, 195],
    "top_logprobs": [
        {"token": "h\ufffd", "logprob": -0.5, "bytes": [104, 195]},
        {"token": "x", "logprob": -9999.0, "bytes": [120]},
    ],
}


def meter() -> Meter:
    made = Meter()
    made.prompt_tokens, made.completion_tokens = 9, 12
    return made


def events(raw: bytes) -> list[Any]:
    lines = raw.decode().split("\n\n")
    assert lines.pop() == ""
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_whole_answer() -> None:
    result = Generation((Choice("hi", (ENTRY,), "stop"), Choice("ho", (), "length")))
    assert chat.whole(HEAD, result, meter(), logprobs=True) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "asked-name",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "refusal": None},
                "logprobs": {"content": [SHOWN], "refusal": None},
                "finish_reason": "stop",
            },
            {
                "index": 1,
                "message": {"role": "assistant", "content": "ho", "refusal": None},
                "logprobs": {"content": [], "refusal": None},
                "finish_reason": "length",
            },
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
    }


def test_logprobs_are_null_where_nobody_asked() -> None:
    result = Generation((Choice("hi", (), "stop"),))
    assert chat.whole(HEAD, result, meter(), logprobs=False)["choices"][0]["logprobs"] is None


def chunk(index: int, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "asked-name",
        "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}],
    }


def test_a_stream() -> None:
    stream = chat.Stream(HEAD, logprobs=False, include_usage=False)
    raw = stream.piece(Piece(0, "h")) + stream.piece(Piece(0, "i", (), "stop"))
    assert events(raw) == [
        chunk(0, {"role": "assistant", "content": ""}),
        chunk(0, {"content": "h"}),
        chunk(0, {"content": "i"}),
        chunk(0, {}, "stop"),
    ]
    assert stream.end(meter()) == b""


def test_a_stream_with_usage() -> None:
    stream = chat.Stream(HEAD, logprobs=False, include_usage=True)
    found = events(stream.piece(Piece(0, "", (), "length")) + stream.end(meter()))
    assert [one["usage"] for one in found[:-1]] == [None, None]
    assert found[-1]["choices"] == []
    assert found[-1]["usage"] == {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}


def test_every_choice_of_a_stream_opens_with_its_role() -> None:
    stream = chat.Stream(HEAD, logprobs=False, include_usage=False)
    found = events(stream.piece(Piece(0, "a", (), "stop")) + stream.piece(Piece(1, "b")))
    roles = [one["choices"][0]["index"] for one in found if "role" in one["choices"][0]["delta"]]
    assert roles == [0, 1]


def test_streamed_logprobs() -> None:
    stream = chat.Stream(HEAD, logprobs=True, include_usage=False)
    found = events(stream.piece(Piece(0, "", (ENTRY,))))
    assert found[1]["choices"][0]["logprobs"] == {"content": [SHOWN], "refusal": None}
