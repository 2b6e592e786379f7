from typing import Any

import pytest

from dormouse_predictors.base import GenerateRequest
from dormouse_predictors.errors import CallError
from dormouse_predictors.requests.completions import DEFAULT_MAX_TOKENS, MAX_PROMPTS, parse

BODY: dict[str, Any] = {"model": "tiny", "prompt": "once"}


def parsed(**changes: Any) -> GenerateRequest:
    request = parse(BODY | changes).request
    assert isinstance(request, GenerateRequest)
    return request


def refused(**changes: Any) -> CallError:
    with pytest.raises(CallError) as error:
        parse(BODY | changes)
    assert error.value.status == 400
    return error.value


def test_the_shortest_body_has_the_defaults() -> None:
    expected = GenerateRequest(prompts=("once",), default_tokens=DEFAULT_MAX_TOKENS)
    assert parsed() == expected


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
    ],
)
def test_the_four_kinds_of_prompt(prompt: Any, prompts: Any) -> None:
    assert parsed(prompt=prompt).prompts == prompts


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        [],
        [""],
        [[]],
        ["a", ""],
        [1.5],
        [True],
        [-1],
        [2**31],
        {"a": 1},
        5,
        [["a"]],
        ["a", [[1]]],
    ],
)
def test_bad_prompts_are_refused(prompt: Any) -> None:
    error = refused(prompt=prompt)
    assert error.code == "invalid_value"
    assert error.param is not None
    assert error.param.startswith("prompt")


def test_a_missing_prompt_is_named() -> None:
    with pytest.raises(CallError) as error:
        parse({"model": "tiny"})
    assert (error.value.code, error.value.param) == ("missing_required_parameter", "prompt")


def test_too_many_prompts_are_refused() -> None:
    assert "128" in refused(prompt=["x"] * (MAX_PROMPTS + 1)).message


def test_echo_and_logprobs() -> None:
    assert parsed(echo=True).echo
    assert parsed(logprobs=3).logprobs == 3
    assert refused(echo=True, logprobs=1).code == "unsupported_parameter"
    assert refused(logprobs=True).param == "logprobs"


def test_max_tokens_may_be_none_at_all() -> None:
    assert parsed(max_tokens=0).max_tokens == 0
    assert refused(max_tokens=-1).param == "max_tokens"


def test_suffix_and_best_of_are_not_supported() -> None:
    assert parsed(suffix=None, best_of=1) == parsed()
    assert refused(suffix="end").code == "unsupported_parameter"
    assert refused(best_of=2).param == "best_of"


def test_chat_fields_are_unknown() -> None:
    assert refused(messages=[]).code == "unknown_parameter"
