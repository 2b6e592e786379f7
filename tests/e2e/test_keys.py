"""Keys and their limits through the real gateway: every form of a credential, and how fast a right
that was taken back is gone.
"""

import time

import httpx
import pytest

from dormouse.tokens import InternalClaims, sign_internal
from dormouse_control.keys import load_signing_key

CHAT = "/v1/chat/completions"
BODY = {"model": "dormouse-chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
PROMISED_SECONDS = 1


@pytest.fixture(scope="module")
def owner(platform):
    user = platform.sign_up("chat", "embeddings")
    assert platform.chat(user.key, max_tokens=1).status_code == 200  # awake from here on
    return user


def narrowed(platform, user, **limits):
    answer = platform.post("/api/v1/keys", user.access_token, json={"name": "k", **limits})
    assert answer.status_code == 201, answer.text
    return answer.json()


def send(platform, method, path, headers, body=None):
    request = httpx.Request(method, platform.url + path, headers=headers, json=body)
    with httpx.Client(timeout=60) as client:
        return client.send(request)


FORMS = [
    ([("Authorization", "Bearer {key}")], "", 200),
    ([("AUTHORIZATION", "bEaReR {key}")], "", 200),
    ([], "", 401),
    ([("Authorization", "Basic {key}")], "", 401),
    ([("Authorization", "{key}")], "", 401),
    ([("Authorization", "Bearer {key}"), ("Authorization", "Bearer {key}")], "", 401),
    ([("Authorization", "Bearer {key}"), ("authorization", "Bearer wrong")], "", 401),
    ([("Authorization", "Bearer wrong"), ("Authorization", "Bearer {key}")], "", 401),
    ([("x-api-key", "{key}")], "", 401),
    ([("api-key", "{key}")], "", 401),
    ([("Proxy-Authorization", "Bearer {key}")], "", 401),
    ([("Cookie", "authorization=Bearer {key}")], "", 401),
    ([("Sec-WebSocket-Protocol", "openai-insecure-api-key.{key}")], "", 401),
    ([], "?api_key={key}", 401),
    ([("Authorization", "Bearer {key}")], "?api_key={key}", 401),
]


@pytest.mark.parametrize(("headers", "query", "status"), FORMS)
def test_t21_gateway_and_control_plane_decide_the_same(platform, owner, headers, query, status):
    sent = [(name, value.replace("{key}", owner.key)) for name, value in headers]
    asked = query.replace("{key}", owner.key)
    call = send(platform, "POST", CHAT + asked, sent, BODY)
    managed = send(platform, "GET", "/api/v1/me" + asked, sent)
    assert (call.status_code, managed.status_code) == (status, status)
    if status == 401:
        assert call.json()["error"]["code"] == managed.json()["error"]["code"]
    assert owner.key not in platform.log()


def test_t21_a_key_for_other_addresses_is_refused_whatever_is_forged(platform, owner):
    here = narrowed(platform, owner, ip_ranges=["127.0.0.0/8"])["key"]
    elsewhere = narrowed(platform, owner, ip_ranges=["192.0.2.0/24"])["key"]
    assert platform.chat(here, max_tokens=1).status_code == 200
    for forged in (
        {},
        {"x-forwarded-for": "192.0.2.1"},
        {"x-envoy-external-address": "192.0.2.1"},
        {"x-real-ip": "192.0.2.1", "forwarded": "for=192.0.2.1"},
    ):
        assert platform.post(CHAT, elsewhere, json=BODY, headers=forged).status_code == 401
        assert platform.get("/api/v1/me", elsewhere, headers=forged).status_code == 401


def test_t20_a_narrowed_key_is_told_what_it_is_not_for(platform, owner):
    for limits, word in (
        ({"services": ["embeddings"]}, "service 'chat'"),
        ({"models": ["all-minilm-l6-v2"]}, "model 'dormouse-chat'"),
        ({"endpoints": ["embeddings"]}, "endpoint 'chat.completions'"),
    ):
        answer = platform.chat(narrowed(platform, owner, **limits)["key"])
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (403, "key_restricted")
        assert word in error["message"]


def test_a_spent_budget_is_402_for_that_key_alone(platform, owner):
    key = narrowed(platform, owner, budget={"amount": 1e-9, "period": "day"})["key"]
    assert platform.chat(key, max_tokens=1).status_code == 200
    platform.until(lambda: platform.chat(key, max_tokens=1).status_code == 402, 15)
    assert platform.chat(key).json()["error"]["type"] == "insufficient_quota"
    assert platform.chat(owner.key, max_tokens=1).status_code == 200


def until_refused(platform, credential, status):
    """Seconds from now to the first refusal."""
    began = time.monotonic()
    platform.until(lambda: platform.chat(credential, max_tokens=1).status_code == status, 5)
    return time.monotonic() - began


def test_t24_what_is_taken_back_is_refused_within_a_second(platform):
    user = platform.sign_up("chat")
    key = narrowed(platform, user)
    assert platform.chat(key["key"], max_tokens=1).status_code == 200
    path = f"/api/v1/keys/{key['id']}"

    changed = platform.call("PATCH", path, user.access_token, json={"endpoints": ["completions"]})
    assert changed.status_code == 200
    assert until_refused(platform, key["key"], 403) <= PROMISED_SECONDS

    platform.call("PATCH", path, user.access_token, json={"endpoints": None})
    platform.until(lambda: platform.chat(key["key"], max_tokens=1).status_code == 200)
    assert platform.call("DELETE", path, user.access_token).status_code == 204
    assert until_refused(platform, key["key"], 401) <= PROMISED_SECONDS


def test_t24_who_is_disabled_or_signed_out_is_refused_within_a_second(platform, administrator):
    user = platform.sign_up("chat")
    assert platform.chat(user.access_token, max_tokens=1).status_code == 200
    assert platform.chat(user.key, max_tokens=1).status_code == 200
    out = platform.call("DELETE", "/api/v1/sessions/current", user.access_token)
    assert out.status_code == 204
    assert until_refused(platform, user.access_token, 401) <= PROMISED_SECONDS
    assert platform.chat(user.key, max_tokens=1).status_code == 200

    path = f"/api/v1/users/{platform.get('/api/v1/me', user.key).json()['id']}"
    body = {"status": "disabled"}
    assert platform.call("PATCH", path, administrator, json=body).status_code == 200
    assert until_refused(platform, user.key, 401) <= PROMISED_SECONDS
    assert platform.get("/api/v1/me", user.key).status_code == 401


@pytest.mark.parametrize(
    "name", ["ada:dormouse-chat:v1", "dormouse-chat:latest", "usr_1:x", "no-such-model"]
)
def test_t42_a_name_that_leads_nowhere_is_404_at_gateway_and_control_plane(platform, owner, name):
    assert platform.chat(owner.key, model=name).status_code == 404
    assert platform.get(f"/v1/models/{name}", owner.key).status_code == 404


@pytest.mark.parametrize("model", ["ada:dormouse-chat:v1", "all-minilm-l6-v2", "no-such-model"])
def test_t42_a_predictor_serves_no_model_but_its_services_own(platform, owner, model):
    """Even if authorizer and signature were on the attacker's side."""
    key = load_signing_key(platform.home / "keys", "internal")
    now = time.time()
    claims = InternalClaims(
        user="usr_1",
        credential="key_1",
        service="chat",
        model=model,
        priority=1,
        expires_at=int(now) + 30,
    )
    [predictor] = platform.predictors(owner.key, "chat")
    answer = httpx.post(
        f"http://127.0.0.1:{predictor['port']}{CHAT}",
        json={**BODY, "model": model},
        headers={"authorization": f"Bearer {sign_internal(claims, key=key, now=now)}"},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
