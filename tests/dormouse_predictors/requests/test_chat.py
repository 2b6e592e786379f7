"""Chat bodies: every field reaches the engine's request, everything else is a clear 400."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dormouse_predictors.base import GenerateRequest, Message, Sampling
from dormouse_predictors.errors import CallError
from dormouse_predictors.requests.chat import MAX_MESSAGES, UNSUPPORTED, ChatBody, parse

BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


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
    assert parsed() == GenerateRequest(prompts=((Message("user", "hi"),),))


def test_all_eleven_optional_fields_reach_the_engine() -> None:
    call = parse(
        BODY
        | {
            "n_threads": 3,
            "n_gpu_layers": 20,
            "temperature": 0.2,
            "max_tokens": 100,
            "top_p": 0.5,
            "top_k": 7,
            "stream": True,
            "presence_penalty": 0.1,
            "frequency_penalty": -0.2,
            "repeat_penalty": 1.1,
            "stop": ["a", "b"],
        }
    )
    assert call.stream
    assert call.request == GenerateRequest(
        prompts=((Message("user", "hi"),),),
        n_threads=3,
        n_gpu_layers=20,
        max_tokens=100,
        stop=("a", "b"),
        sampling=Sampling(
            temperature=0.2,
            top_p=0.5,
            top_k=7,
            presence_penalty=0.1,
            frequency_penalty=-0.2,
            repeat_penalty=1.1,
        ),
    )


@pytest.mark.parametrize(
    ("field", "low", "high", "step"),
    [
        ("n_threads", 1, 1024, 1),
        ("n_gpu_layers", -1, 1000, 1),
        ("temperature", 0, 2, 0.1),
        ("max_tokens", 1, 2**31 - 1, 1),
        ("max_completion_tokens", 1, 2**31 - 1, 1),
        ("top_p", 0, 1, 0.1),
        ("min_p", 0, 1, 0.1),
        ("top_k", 0, 100_000, 1),
        ("presence_penalty", -2, 2, 0.1),
        ("frequency_penalty", -2, 2, 0.1),
        ("repeat_penalty", 0.1, 2, 0.01),
        ("seed", -(2**63), 2**63 - 1, 1),
        ("n", 1, 8, 1),
        ("priority", 0, 2, 1),
    ],
)
def test_ranges(field: str, low: float, high: float, step: float) -> None:
    for value in (low, high, None):
        parse(BODY | {field: value})
    for value in (low - step, high + step):
        error = refused(**{field: value})
        assert (error.code, error.param) == ("invalid_value", field)
        assert str(low) in error.message
        assert str(high) in error.message
    wrong: list[Any] = ["1", True, [1], {}, float("nan"), float("inf")]
    for bad in wrong:
        assert refused(**{field: bad}).param == field


EVERY_FIELD = [*ChatBody.model_fields, *UNSUPPORTED]


@pytest.mark.parametrize("name", [name for name in EVERY_FIELD if name not in BODY])
def test_null_asks_for_nothing(name: str) -> None:
    assert parsed(**{name: None}) == parsed()


def test_null_in_a_message_asks_for_nothing() -> None:
    said = {"role": "user", "content": "hi", "name": None}
    assert parsed(messages=[said]) == parsed()


ODD: list[Any] = [
    *(0, -1, 2**31, 2**63, -(2**63) - 1, 10**30, 1e308, -1e308, 1e-308, float("nan"), True, False),
    *(
        "",
        "x",
        "\x00",
        "a" * 5000,
        [],
        [None],
        ["x"],
        [[]],
        {},
        {"a": 1},
        {"0": 1},
        {"type": "text"},
    ),
]


@settings(max_examples=2000, deadline=None)
@given(st.dictionaries(st.sampled_from(EVERY_FIELD), st.sampled_from(ODD), max_size=4))
def test_t73_whatever_a_field_holds_it_is_taken_or_refused(changes: dict[str, Any]) -> None:
    try:
        parse(BODY | changes)
        return
    except CallError as refusal:
        error = refusal
    assert error.status == 400
    assert error.param is not None
    assert error.param.split("[")[0].split(".")[0] in {*changes, "max_tokens", "top_logprobs"}


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("temprature", "temperature"),
        ("maxtokens", "max_tokens"),
        ("max_new_tokens", "max_tokens"),
        ("repetition_penalty", "repeat_penalty"),
        ("stop_sequences", "stop"),
        ("prompt", "messages"),
        ("message", "messages"),
        ("Model", "model"),
        ("topp", "top_p"),
    ],
)
def test_an_unknown_field_is_told_what_it_may_have_been(sent: str, meant: str) -> None:
    error = refused(**{sent: 1})
    assert (error.code, error.param) == ("unknown_parameter", sent)
    assert error.message == f"Unknown parameter: {sent}. Did you mean {meant}?"


@pytest.mark.parametrize("sent", ["n_discard", "grammar", "api_base", "cache_prompt", "xyz", ""])
def test_what_is_like_nothing_gets_no_advice(sent: str) -> None:
    assert refused(**{sent: 1}).message == f"Unknown parameter: {sent}."


def test_advice_is_given_inside_a_field_too() -> None:
    inner = refused(messages=[{"role": "user", "content": "x", "contents": "y"}])
    assert inner.message == "Unknown parameter: messages[0].contents. Did you mean content?"
    options = refused(stream=True, stream_options={"include_usages": True})
    assert options.message.endswith("Did you mean include_usage?")


def test_fld34_engine_is_the_older_name_of_model() -> None:
    older = {name: value for name, value in BODY.items() if name != "model"}
    assert parse(older | {"engine": "tiny"}) == parse(BODY)
    assert parse(BODY | {"engine": "tiny"}) == parse(BODY)
    assert parse(BODY | {"engine": None}) == parse(BODY)
    assert refused(engine="other").param == "engine"


def test_whole_numbers_are_taken_where_numbers_are() -> None:
    assert parsed(temperature=1).sampling.temperature == 1


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_what_is_not_supported_is_refused_by_name(name: str) -> None:
    error = refused(**{name: {"asks": "for something"}})
    assert (error.code, error.param) == ("unsupported_parameter", name)
    assert name in error.message
    assert parsed(**{name: None}) == parsed()
    for neutral in UNSUPPORTED[name]:
        assert parsed(**{name: neutral}) == parsed()


def test_a_neutral_value_of_another_type_is_not_neutral() -> None:
    assert refused(store=0).code == "unsupported_parameter"
    assert refused(parallel_tool_calls=1).code == "unsupported_parameter"


def test_an_unknown_field_is_named() -> None:
    error = refused(temprature=1)
    assert (error.code, error.param) == ("unknown_parameter", "temprature")
    inner = refused(messages=[{"role": "user", "content": "x", "colour": "red"}])
    assert (inner.code, inner.param) == ("unknown_parameter", "messages[0].colour")


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(CallError) as error:
        parse({key: value for key, value in BODY.items() if key != name})
    assert (error.value.code, error.value.param) == ("missing_required_parameter", name)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hi", "messages"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 1}], "messages[0].content"),
        ([{"role": "tool", "content": "x", "tool_call_id": "1"}], "messages[0].role"),
        ([{"role": "function", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content"),
        ([1], "messages[0]"),
        ([{"role": "user", "content": "x", "name": "n" * 65}], "messages[0].name"),
    ],
)
def test_bad_messages_are_pointed_at(messages: Any, param: str) -> None:
    assert refused(messages=messages).param == param


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "refusal"])
def test_parts_other_than_text_are_not_supported(kind: str) -> None:
    parts = [{"type": "text", "text": "what is this?"}, {"type": kind, kind: {"url": "data:,"}}]
    error = refused(messages=[{"role": "user", "content": parts}])
    assert (error.code, error.param) == ("unsupported_parameter", "messages[0].content")


def test_roles_and_parts() -> None:
    request = parsed(
        messages=[
            {"role": "developer", "content": "be kind"},
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            {"role": "assistant", "content": "c", "name": "d"},
        ]
    )
    assert request.prompts == (
        (
            Message("system", "be kind"),
            Message("system", "be brief"),
            Message("user", "a\nb"),
            Message("assistant", "c", "d"),
        ),
    )


def test_our_own_answer_can_be_sent_back() -> None:
    """As `message.model_dump()` of the official client has it."""
    said = {"role": "assistant", "content": "x", "refusal": None, "annotations": None}
    said |= {"audio": None, "function_call": None, "tool_calls": None}
    assert parsed(messages=[said]).prompts == ((Message("assistant", "x"),),)
    called = {"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}
    assert refused(messages=[called]).code == "unsupported_parameter"


def test_one_stop_may_stand_alone() -> None:
    assert parsed(stop="END").stop == ("END",)
    assert parsed(stop=[]).stop == ()


@pytest.mark.parametrize("stop", ["", [""], ["x"] * 17, "x" * 257, ["a", 1], 5, {"a": "b"}])
def test_bad_stops_are_refused(stop: Any) -> None:
    error = refused(stop=stop)
    assert error.param is not None
    assert error.param.startswith("stop")
    assert "16" in error.message


def test_logit_bias() -> None:
    assert parsed(logit_bias={"5": -100, "7": 1.5}).sampling.logit_bias == {5: -100.0, 7: 1.5}
    too_many = {str(at): 0 for at in range(1025)}
    for bad in ({"x": 1}, {"-1": 1}, {"5": 101}, {"5": "1"}, {"9" * 30: 1}, [1], too_many):
        assert refused(logit_bias=bad).param.startswith("logit_bias")  # type: ignore[union-attr]


def test_logprobs() -> None:
    assert parsed(logprobs=False).logprobs is None
    assert parsed(logprobs=True).logprobs == 0
    assert parsed(logprobs=True, top_logprobs=5).logprobs == 5
    assert refused(top_logprobs=5).param == "top_logprobs"
    assert refused(logprobs=True, top_logprobs=21).param == "top_logprobs"


def test_response_format() -> None:
    assert not parsed(response_format={"type": "text"}).json_only
    assert parsed(response_format={"type": "json_object"}).json_only
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
    assert refused(response_format=schema).code == "unsupported_parameter"
    assert refused(response_format={"type": "xml"}).code == "invalid_value"
    assert refused(response_format="json").code == "invalid_value"


def test_both_names_of_max_tokens() -> None:
    assert parsed(max_completion_tokens=5).max_tokens == 5
    assert parsed(max_completion_tokens=5, max_tokens=5).max_tokens == 5
    assert refused(max_completion_tokens=5, max_tokens=6).param == "max_tokens"


def test_stream_options() -> None:
    call = parse(BODY | {"stream": True, "stream_options": {"include_usage": True}})
    assert call.include_usage
    assert not parse(BODY | {"stream": True, "stream_options": None}).include_usage
    assert refused(stream_options={"include_usage": True}).param == "stream_options"
    noisy = {"include_obfuscation": True}
    assert refused(stream=True, stream_options=noisy).code == "unsupported_parameter"
    assert refused(stream=True, stream_options={"x": 1}).param == "stream_options.x"


def test_end_user() -> None:
    assert parse(BODY | {"user": "anna"}).end_user == "anna"
    assert parse(BODY | {"user": "anna", "safety_identifier": "b"}).end_user == "b"
    assert refused(user="x" * 513).param == "user"


def test_too_many_messages_are_refused() -> None:
    many = [{"role": "user", "content": "x"}] * (MAX_MESSAGES * 20)
    assert refused(messages=many).param == "messages"
