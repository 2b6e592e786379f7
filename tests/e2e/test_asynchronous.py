"""Calls that nobody waits for, on the real platform: sleep, crashes, refusals, webhooks."""

import base64
import hashlib
import hmac
import json
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import openai
import pytest

from dormouse import Dormouse

ASYNC = {"prefer": "respond-async"}
OPEN = ("queued", "running")


@pytest.fixture(scope="module")
def platform(start_platform):
    return start_platform(
        requests_per_minute=100_000, webhook_allowed="127.0.0.0/8", idle_seconds=2
    )


@pytest.fixture
def user(platform):
    return platform.sign_up("chat", "embeddings")


def _body(text="What is Dormouse?", **fields):
    message = {"role": "user", "content": text}
    return {"model": "dormouse-chat", "messages": [message], "temperature": 0, **fields}


def _ask(platform, user, *, headers=(), **fields):
    sent = {**ASYNC, **dict(headers)}
    answer = platform.post("/v1/chat/completions", user.key, json=_body(**fields), headers=sent)
    assert answer.status_code == 202, answer.text
    return answer


def _ended(platform, user, location, seconds=90):
    found = {}

    def over():
        found.update(platform.get(location, user.key).raise_for_status().json())
        return found["status"] not in OPEN

    platform.until(over, seconds)
    return found


def _charges(platform, user, request_id):
    items = platform.get("/api/v1/usage?limit=200", user.key).json()["items"]
    return [item for item in items if item["request_id"] == request_id]


def test_a_call_to_a_service_that_sleeps(platform, user):
    plain = platform.chat(user.key).json()
    platform.until(lambda: platform.predictors(user.key, "chat") == [], 30)

    answer = _ask(platform, user)
    assert answer.headers["preference-applied"] == "respond-async"
    taken = answer.json()
    assert answer.headers["location"] == f"/api/v1/requests/{taken['id']}"
    assert (taken["status"], taken["model"]) == ("queued", "dormouse-chat")
    found = _ended(platform, user, answer.headers["location"])

    assert (found["status"], found["attempts"]) == ("completed", 1)
    result = found["result"]
    assert result["status_code"] == 200
    assert result["body"]["object"] == "chat.completion"
    assert result["body"]["choices"] == plain["choices"]
    assert result["usage"] == result["body"]["usage"] == plain["usage"]
    charged = platform.usage(user.key, found["request_id"])
    assert charged["completion_tokens"] == plain["usage"]["completion_tokens"]
    by_key = platform.get(f"/api/v1/usage?key_id={user.key_id}&limit=200", user.key).json()["items"]
    assert found["request_id"] in {each["request_id"] for each in by_key}


def test_openais_own_client_asks_and_its_body_is_answered(platform, user):
    client = openai.OpenAI(base_url=f"{platform.url}/v1", api_key=user.key)
    raw = client.chat.completions.with_raw_response.create(**_body(), extra_headers=ASYNC)

    assert raw.http_response.status_code == 202
    found = _ended(platform, user, raw.headers["location"])
    completion = openai.types.chat.ChatCompletion.model_validate(found["result"]["body"])
    assert completion.choices[0].message.content
    embedding = client.embeddings.with_raw_response.create(
        model="all-minilm-l6-v2", input=["a", "b"], extra_headers=ASYNC
    )
    found = _ended(platform, user, embedding.headers["location"])
    assert len(found["result"]["body"]["data"]) == 2


def test_our_client_leaves_a_call_and_waits_for_it(platform, user):
    with Dormouse(platform.url, user.key) as client:
        asked = client.requests.create("chat.completions", **_body(max_tokens=4))
        found = client.requests.wait(asked.id, timeout=90)
        assert (found.status, found.result.status_code) == ("completed", 200)
        assert found.result.body["usage"]["completion_tokens"] <= 4
        assert asked.id in [each.id for each in client.requests.list()]
        client.requests.cancel(asked.id)
        assert asked.id not in [each.id for each in client.requests.list()]


def test_what_a_model_refuses_is_the_result(platform, user):
    answer = _ask(platform, user, temperature="hot")
    found = _ended(platform, user, answer.headers["location"])

    assert found["status"] == "failed"
    assert 400 <= found["result"]["status_code"] < 500
    assert found["result"]["body"]["error"]["code"] == found["refusal"]["code"]


def test_a_control_plane_that_is_killed_loses_nothing_and_charges_once(platform, user):
    locations = []
    for _ in range(2):
        pid = platform.pids(user.key)["control-plane"]
        platform.until(lambda: _ask_more(platform, user, locations), 60)
        os.kill(pid, signal.SIGKILL)
        platform.until(
            lambda dead=pid: platform.pids(user.key).get("control-plane", dead) != dead, 30
        )
        platform.until(lambda: platform.get("/readyz").status_code == 200, 30)

    ended = [_ended(platform, user, each, 180) for each in locations]
    assert [each["status"] for each in ended] == ["completed"] * len(locations)
    assert max(each["attempts"] for each in ended) > 1
    for each in ended:
        platform.usage(user.key, each["request_id"])
        assert len(_charges(platform, user, each["request_id"])) == 1


def _ask_more(platform, user, locations):
    """Whether some of them run: they may end before anybody has looked."""
    for number in range(20):
        answer = _ask(platform, user, text=f"Story {number}", max_tokens=200)
        locations.append(answer.headers["location"])
    return "running" in _states(platform, user)


def _states(platform, user):
    items = platform.get("/api/v1/requests?limit=200", user.key).json()["items"]
    return {each["status"] for each in items}


def test_a_key_that_is_revoked_meanwhile_makes_no_call(platform, user):
    """Held back by the limit of its user, until there is nobody any more who may make it."""
    made = platform.post(
        "/api/v1/keys", user.access_token, json={"name": "gone", "requests_per_minute": 1}
    ).json()
    locations = []
    for _ in range(3):
        answer = platform.post("/v1/chat/completions", made["key"], json=_body(), headers=ASYNC)
        locations.append(answer.raise_for_status().headers["location"])
    platform.until(
        lambda: any(_waits_for_its_limit(platform, user, each) for each in locations), 60
    )

    revoked = platform.call("DELETE", f"/api/v1/keys/{made['id']}", user.access_token)

    assert revoked.status_code == 204
    ended = [_ended(platform, user, each) for each in locations]
    codes = [each["refusal"]["code"] for each in ended if each["status"] == "failed"]
    assert "invalid_api_key" in codes
    assert set(codes) <= {"invalid_api_key", "access_revoked"}  # the latter ended while it ran
    for each in ended:
        if each["status"] == "failed" and each["refusal"]["code"] == "invalid_api_key":
            assert each["result"]["status_code"] == 401
            assert _charges(platform, user, each["request_id"]) == []


def _waits_for_its_limit(platform, user, location):
    found = platform.get(location, user.key).json()
    return found["stage"] == "waiting_to_retry" and found["refusal"]["code"] == "rate_limited"


class _Receiver:
    """Takes webhooks: refuses the first `failing`, and keeps all."""

    def __init__(self, failing):
        self.seen = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.seen.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(500 if len(receiver.seen) <= failing else 204)
                self.end_headers()

            def log_message(self, *_): ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?x=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[_Receiver]:
    found = _Receiver(failing=2)
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_receiver_that_fails_twice_is_told_all_the_same(platform, user, receiver):
    made = platform.post("/api/v1/webhook-secret", user.access_token)
    assert made.status_code == 201
    answer = _ask(platform, user, headers={"x-dormouse-webhook": receiver.url})
    location = answer.headers["location"]
    assert answer.json()["webhook"]["state"] == "waiting"

    platform.until(
        lambda: platform.get(location, user.key).json()["webhook"]["state"] == "delivered", 90
    )

    found = platform.get(location, user.key).json()
    assert (found["webhook"]["attempts"], found["webhook"]["reply"]) == (3, 204)
    assert len({headers["webhook-id"] for headers, _ in receiver.seen}) == 1
    secret = base64.b64decode(made.json()["secret"].removeprefix("whsec_"))
    for headers, body in receiver.seen:
        content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = hmac.digest(secret, content, hashlib.sha256)
        assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
        document = json.loads(body)
        assert document["type"] == "request.completed"
        assert document["data"]["id"] == found["id"]
        assert document["data"]["location"] == platform.url + location
        assert set(document["data"]) == {"id", "status", "location"}


def test_a_request_that_runs_is_cancelled(platform, user):
    location = _ask(platform, user, max_tokens=400, text="Count").headers["location"]

    assert platform.call("DELETE", location, user.key).status_code == 204

    found = platform.get(location, user.key).json()
    assert found["status"] in ("cancelled", "completed") or found == {}
    assert platform.call("DELETE", location, user.key).status_code == 204
    assert platform.get(location, user.key).status_code == 404


def test_the_socket_takes_no_credential_of_a_user(platform, user):
    """A key is good for the port, and only a delegation for the socket."""
    transport = httpx.HTTPTransport(uds=str(platform.home / "run" / "calls.sock"))
    with httpx.Client(transport=transport, base_url="http://gateway") as client:
        headers = {"authorization": f"Bearer {user.key}"}
        answer = client.post("/v1/chat/completions", headers=headers, json=_body())
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
