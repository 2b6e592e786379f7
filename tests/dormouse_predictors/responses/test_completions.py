import json

from dormouse_predictors.base import Choice, Generation, Meter, Piece, TokenLogprob
from dormouse_predictors.responses import completions
from dormouse_predictors.responses.shapes import Head

HEAD = Head("cmpl-1", 1700000000, "asked-name")
ENTRIES = (TokenLogprob(b"ab", -0.5, ((b"ab", -0.5),)), TokenLogprob(b"c", -1.0))
SHOWN = {
    "tokens": ["ab", "c"],
    "token_logprobs": [-0.5, -1.0],
    "top_logprobs": [{"ab": -0.5}, {}],
    "text_offset": [0, 2],
}


def test_a_whole_answer() -> None:
    result = Generation((Choice("abc", ENTRIES, "length"),))
    assert completions.whole(HEAD, result, Meter(), logprobs=True) == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1700000000,
        "model": "asked-name",
        "choices": [{"index": 0, "text": "abc", "logprobs": SHOWN, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def test_a_stream_counts_its_offsets_on() -> None:
    stream = completions.Stream(HEAD, logprobs=True, include_usage=True)
    raw = [stream.piece(Piece(0, "ab", ENTRIES[:1])), stream.piece(Piece(0, "c", ENTRIES[1:]))]
    found = [json.loads(one.removeprefix(b"data: ")) for one in raw]
    assert [one["choices"][0]["text"] for one in found] == ["ab", "c"]
    assert [one["choices"][0]["logprobs"]["text_offset"] for one in found] == [[0], [2]]
    assert [one["usage"] for one in found] == [None, None]
    end = json.loads(stream.end(Meter()).removeprefix(b"data: "))
    assert (end["choices"], end["usage"]["total_tokens"]) == ([], 0)
