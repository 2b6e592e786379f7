"""chat.completions, completions and embeddings as OpenAI's client has them, and what we add."""

from typing import Any

import openai
import pytest

from dormouse import Dormouse

MESSAGES = [{"role": "user", "content": "hi"}]


def test_a_chat_is_read_as_with_openais_client(platform: Any, client: Dormouse) -> None:
    """LIB-03: only the class and the address differ."""
    with openai.OpenAI(base_url=platform.url + "/v1", api_key="dm_test") as original:
        for each in (client, original):
            completion = each.chat.completions.create(model="small", messages=MESSAGES)  # type: ignore[call-overload]
            assert completion.choices[0].message.content == "You said: hi"
            assert completion.choices[0].finish_reason == "stop"
            assert completion.usage.total_tokens == 8
            assert completion.model == "small"
    ours, theirs = (request.body for request in platform.requests)
    assert ours == theirs


def test_headers_of_an_answer_are_attributes(client: Dormouse) -> None:
    completion = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert completion.model == "gpt-4o-mini"
    assert completion.model_used == "small"
    assert completion.request_id == "req_1"
    assert completion.cold_start_ms == 140


OPTIONS: dict[str, Any] = {
    "n_threads": 2,
    "n_gpu_layers": 3,
    "temperature": 0.2,
    "max_tokens": 5,
    "top_p": 0.9,
    "top_k": 40,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "repeat_penalty": 1.1,
    "stop": ["\n"],
    "priority": 1,
    "seed": 7,
}


def test_every_option_travels(platform: Any, client: Dormouse) -> None:
    client.chat.completions.create(model="small", messages=MESSAGES, **OPTIONS)
    assert platform.requests[-1].body == {"model": "small", "messages": MESSAGES, **OPTIONS}
    client.completions.create(model="small", prompt="once", **OPTIONS)
    assert platform.requests[-1].body == {"model": "small", "prompt": "once", **OPTIONS}


def test_options_that_are_none_or_not_given_do_not_travel(platform: Any, client: Dormouse) -> None:
    client.chat.completions.create(
        model="small", messages=MESSAGES, temperature=None, extra_body=None, stream=None
    )
    assert platform.requests[-1].body == {"model": "small", "messages": MESSAGES}
    client.chat.completions.create(model="small", messages=MESSAGES, temperature=0, stream=False)
    assert platform.requests[-1].body == {"model": "small", "messages": MESSAGES, "temperature": 0}


@pytest.mark.parametrize("priority", [0, 2])
def test_model_and_priority_are_in_headers_for_the_gateway(
    platform: Any, client: Dormouse, priority: Any
) -> None:
    client.chat.completions.create(model="small", messages=MESSAGES, priority=priority)
    client.completions.create(model="small", prompt="once", priority=priority)
    client.embeddings.create(model="mini", input="once", priority=priority)
    with client.completions.create(
        model="small", prompt="once", priority=priority, stream=True
    ) as stream:
        list(stream)
    assert len(platform.requests) == 4
    for request in platform.requests:
        assert request.headers["x-dormouse-priority"] == str(priority)
        assert request.headers["x-dormouse-model"] == request.body["model"]


def test_without_a_priority_none_is_sent(platform: Any, client: Dormouse) -> None:
    client.completions.create(model="small", prompt="once")
    assert "x-dormouse-priority" not in platform.requests[-1].headers


@pytest.mark.parametrize("model", ["модель", "a\nb", "a\r\nx-evil: 1"])
def test_a_name_that_no_header_can_carry_stays_in_the_body(
    platform: Any, client: Dormouse, model: str
) -> None:
    platform.once("POST", "/v1/completions", lambda _, reply: reply.error(404, "model_not_found"))
    with pytest.raises(Exception, match="No"):
        client.completions.create(model=model, prompt="once")
    assert "x-dormouse-model" not in platform.requests[-1].headers
    assert "x-evil" not in platform.requests[-1].headers
    assert platform.requests[-1].body["model"] == model


def test_fields_and_headers_that_we_do_not_know_can_be_added(
    platform: Any, client: Dormouse
) -> None:
    client.completions.create(
        model="small", prompt="once", extra_body={"mirostat": 2}, extra_headers={"x-trace": "1"}
    )
    assert platform.requests[-1].body["mirostat"] == 2
    assert platform.requests[-1].headers["x-trace"] == "1"


def test_an_answer_can_be_sent_back_as_a_message(platform: Any, client: Dormouse) -> None:
    first = client.chat.completions.create(model="small", messages=MESSAGES)
    client.chat.completions.create(
        model="small", messages=(each for each in [*MESSAGES, first.choices[0].message])
    )
    said = {"role": "assistant", "content": "You said: hi"}
    assert platform.requests[-1].body["messages"] == [*MESSAGES, said]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda client: client.chat.completions.create(model="small"), "messages="),
        (lambda client: client.completions.create(prompt="x"), "model="),
        (lambda client: client.completions.create(), "model= and prompt="),
        (lambda client: client.embeddings.create(model="mini"), "input="),
    ],
)
def test_what_is_needed_is_asked_for_before_sending(
    platform: Any, client: Any, call: Any, said: str
) -> None:
    with pytest.raises(TypeError, match=f"missing {said}"):
        call(client)
    assert platform.requests == []


def test_a_text_is_continued(client: Dormouse) -> None:
    assert client.completions.create(model="small", prompt="once").choices[0].text == "once upon"
    with client.completions.create(model="small", prompt="once", stream=True) as stream:
        assert "".join(each.choices[0].text for each in stream) == "once upon"


def test_embeddings_travel_as_base64_and_arrive_as_numbers(platform: Any, client: Dormouse) -> None:
    answer = client.embeddings.create(model="mini", input=["once"])
    assert platform.requests[-1].body["encoding_format"] == "base64"
    assert answer.data[0].embedding == [1.0, -0.5, 2.0]
    assert answer.to_dict()["data"][0]["embedding"] == [1.0, -0.5, 2.0]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 2
    assert answer.request_id == "req_1"


def test_embeddings_come_as_they_are_asked_for(client: Dormouse) -> None:
    numbers = client.embeddings.create(model="mini", input="once", encoding_format="float")
    assert numbers.data[0].embedding == [1.0, -0.5, 2.0]
    text = client.embeddings.create(model="mini", input="once", encoding_format="base64")
    assert text.data[0].embedding == "AACAPwAAAL8AAABA"


def test_embeddings_agree_with_openais_client(platform: Any, client: Dormouse) -> None:
    with openai.OpenAI(base_url=platform.url, api_key="dm_test") as original:
        platform.always("POST", "/embeddings", lambda request, reply: _embed(request, reply))
        theirs = original.embeddings.create(model="mini", input="once").data[0].embedding
    assert client.embeddings.create(model="mini", input="once").data[0].embedding == theirs


def _embed(_: Any, reply: Any) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": "AACAPwAAAL8AAABA"}]
    reply.json(200, {"object": "list", "model": "mini", "data": data})


@pytest.mark.parametrize("data", [{}, {"data": 1}, {"data": [{}]}, {"data": [{"embedding": "!"}]}])
def test_embeddings_in_another_form_are_named_so(
    platform: Any, client: Dormouse, data: Any
) -> None:
    platform.once("POST", "/v1/embeddings", lambda _, reply: reply.json(200, data))
    with pytest.raises(Exception, match="unknown form"):
        client.embeddings.create(model="mini", input="once")
