"""The official OpenAI clients, unchanged: only base_url and key are ours."""

import base64
import json
import shutil
import struct
import subprocess
from pathlib import Path

import openai
import pytest

NODE = Path(__file__).parent / "node"
QUESTION = [{"role": "user", "content": "What is Dormouse?"}]


@pytest.fixture(scope="module", params=["/v1", ""], ids=["with /v1", "without /v1"])
def client(platform, account, request):
    with openai.OpenAI(base_url=platform.url + request.param, api_key=account.key) as found:
        yield found


def chat(client, **fields):
    return client.chat.completions.create(
        **{"model": "dormouse-chat", "messages": QUESTION, "temperature": 0, **fields}
    )


def test_chat(client):
    answer = chat(client)
    assert "ormouse" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_streamed_chat_is_the_same_text_and_usage(client):
    plain = chat(client)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert chunks[-1].usage == plain.usage
    assert len(chunks) > 5  # it really came piece by piece


def test_completions(client):
    answer = client.completions.create(model="dormouse-chat", prompt="Dormouse is", max_tokens=5)
    assert answer.usage.completion_tokens <= 5
    assert answer.choices[0].text


def test_embeddings_as_floats_and_base64_are_the_same(client):
    ask = {"model": "all-minilm-l6-v2", "input": ["a sleeping mouse", "a database"]}
    floats = client.embeddings.create(**ask, encoding_format="float").data
    packed = client.embeddings.with_raw_response.create(**ask, encoding_format="base64")
    for one, other in zip(floats, json.loads(packed.content)["data"], strict=True):
        raw = base64.b64decode(other["embedding"])
        assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(one.embedding, abs=1e-6)
    assert [len(found.embedding) for found in floats] == [384, 384]


def test_models(client):
    assert {"dormouse-chat", "all-minilm-l6-v2"} <= {found.id for found in client.models.list()}
    assert client.models.retrieve("dormouse-chat").id == "dormouse-chat"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_other_vendors_model_names_mean_ours(client):
    answer = chat(client, model="gpt-3.5-turbo", max_tokens=3)
    assert answer.model == "gpt-3.5-turbo"


@pytest.mark.parametrize(
    ("fields", "error", "code", "param"),
    [
        ({"model": "no-such-model"}, openai.NotFoundError, "model_not_found", "model"),
        ({"temperature": 9}, openai.BadRequestError, "invalid_value", "temperature"),
        ({"extra_body": {"nonsense": 1}}, openai.BadRequestError, "unknown_parameter", "nonsense"),
        (
            {"messages": [{"role": "user", "content": "word " * 5000}]},
            openai.BadRequestError,
            "context_length_exceeded",
            "messages",
        ),
        ({"model": "all-minilm-l6-v2"}, openai.BadRequestError, "invalid_value", "model"),
    ],
)
def test_errors_are_the_clients_own(client, fields, error, code, param):
    with pytest.raises(error) as caught:
        chat(client, **fields)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.request_id


def test_a_wrong_key_and_a_missing_entitlement(platform):
    with openai.OpenAI(base_url=platform.url, api_key="dm_" + "x" * 43) as stranger:
        with pytest.raises(openai.AuthenticationError):
            chat(stranger)
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
    user = platform.sign_up("embeddings")
    with openai.OpenAI(base_url=platform.url, api_key=user.key) as guest:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            chat(guest)
        assert caught.value.code == "not_entitled"


@pytest.mark.node
def test_the_node_client(platform, account, require):
    require("node", shutil.which("npm") is not None, "npm is not installed")
    if not (NODE / "node_modules").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=NODE, check=True)
    ran = subprocess.run(
        ["node", "client.mjs", platform.url + "/v1", account.key],
        cwd=NODE,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["streamed"] == found["plain"] != ""
    assert found["streamedUsage"] == found["plainUsage"]
    assert found["dimensions"] == [384, 384]
    assert found["one"] in found["models"]
    assert found["errors"] == {
        "key": ["AuthenticationError", 401, "invalid_api_key"],
        "model": ["NotFoundError", 404, "model_not_found"],
        "field": ["BadRequestError", 400, "invalid_value"],
    }
