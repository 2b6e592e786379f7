import copy
import json
import pickle
from typing import Any

import pytest

from dormouse import UnexpectedAnswerError
from dormouse.answers import Page, build, build_page
from dormouse.types import ChatCompletion, CompletionUsage, Embedding, Service

COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "model": "small",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "é", "mood": "sleepy"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    "system_fingerprint": "fp_1",
}


def test_json_is_read_by_attributes() -> None:
    completion = build(ChatCompletion, COMPLETION)
    assert completion.choices[0].message.content == "é"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 8


def test_fields_that_a_newer_server_sends_are_attributes_too() -> None:
    completion: Any = build(ChatCompletion, COMPLETION)
    assert completion.system_fingerprint == "fp_1"
    assert completion.choices[0].message.mood == "sleepy"
    with pytest.raises(AttributeError, match="'ChatCompletion' has no attribute 'colour'"):
        completion.colour  # noqa: B018


def test_fields_that_may_be_missing_have_defaults() -> None:
    completion = build(ChatCompletion, {"id": "1", "model": "m", "choices": []})
    assert (completion.usage, completion.created, completion.request_id) == (None, 0, None)
    assert build(ChatCompletion, COMPLETION | {"usage": None}).usage is None


def test_an_answer_gives_back_its_json() -> None:
    completion = build(ChatCompletion, COMPLETION)
    assert completion.to_dict() == completion.model_dump() == COMPLETION
    for text in (completion.to_json(), completion.model_dump_json()):
        assert json.loads(text) == COMPLETION
    assert "é" in completion.to_json(indent=None)


def test_an_object_made_by_hand_has_json_too() -> None:
    assert Embedding(embedding=[1.0]).to_dict() == {
        "embedding": [1.0],
        "index": 0,
        "object": "embedding",
    }


def test_answers_can_be_copied_pickled_and_compared() -> None:
    completion = build(ChatCompletion, COMPLETION)
    assert copy.deepcopy(completion) == completion
    assert pickle.loads(pickle.dumps(completion)) == completion  # noqa: S301 - our own bytes
    assert build(ChatCompletion, COMPLETION | {"id": "2"}) != completion


def test_what_is_read_from_headers_is_a_number_or_nothing() -> None:
    def cold_start(value: str) -> int | None:
        headers = {"x-dormouse-cold-start-ms": value}
        return build(ChatCompletion, COMPLETION, headers=headers).cold_start_ms

    assert [cold_start(value) for value in ("140", "0", "", "soon", "-1", "²")] == [
        140, 0, None, None, None, None
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "JSON object"),
        ([], "JSON object"),
        ({}, "without 'id'"),
        ({"id": "1", "model": "m", "choices": {}}, "expected a list"),
        ({"id": "1", "model": "m", "choices": [1]}, "JSON object for Choice"),
        ({"id": "1", "model": "m", "choices": [{}]}, "Choice without 'message'"),
    ],
)
def test_what_is_no_such_answer_is_refused(data: Any, said: str) -> None:
    with pytest.raises(UnexpectedAnswerError, match=said):
        build(ChatCompletion, data)


def test_a_page_goes_on_to_the_next() -> None:
    pages = {
        "": {"items": [{"id": "a"}, {"id": "b"}], "next": "2"},
        "2": {"items": [{"id": "c"}], "next": None},
    }

    def turn(cursor: str) -> Page[Service]:
        return build_page(Service, pages[cursor], turn=turn)

    page = turn("")
    assert [service.id for service in page.items] == ["a", "b"]
    assert [service.id for service in page] == ["a", "b", "c"]
    for wrong in (None, {}, {"items": 1}):
        with pytest.raises(UnexpectedAnswerError):
            build_page(CompletionUsage, wrong, turn=turn)  # type: ignore[arg-type]
