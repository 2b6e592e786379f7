"""Forged headers, hostile bodies, direct calls: a clear 4xx, nothing reached, platform alive."""

import json

import httpx
import pytest

CHAT = "/v1/chat/completions"
GOOD = {"model": "dormouse-chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}


@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        (b"", {400}),
        (b"{", {400}),
        (b"no json", {400}),
        (b"[" * 200_000, {400}),
        (b'{"model":"dormouse-chat","messages":' + b"[" * 200_000, {400}),
        (b'{"model":"dormouse-chat","temperature":1e999,"messages":[]}', {400}),
        (b'{"model":"dormouse-chat","temperature":NaN,"messages":[]}', {400}),
        (b'{"model":"dormouse-chat","messages":[],"seed":' + b"9" * 1_000_000 + b"}", {400}),
        (b'{"model":"dormouse-chat","messages":[]}', {400}),
        (b'{"model":"dormouse-chat"}', {400}),
        (b'{"model":["dormouse-chat"],"messages":[]}', {400}),
        (b'{"model":"dormouse-chat","messages":"hi"}', {400}),
        (b'{"model":"dormouse-chat","messages":[{"role":"user","content":5}]}', {400}),
        (b'{"model":"dormouse-chat","messages":[{"role":"king","content":"hi"}]}', {400}),
        (b'{"model":"dormouse-chat","messages":[{"role":"user","content":"\xff"}]}', {400}),
        (b'{"model":"dormouse-chat","messages":[{"role":"user","content":"\\ud800"}]}', {400}),
        (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), {200, 400}),
        (json.dumps({**GOOD, "messages": [{"role": "user", "content": "x" * 5_000_000}]}).encode(),
         {400, 413}),
        (json.dumps({**GOOD, "stop": ["x"] * 10_000}).encode(), {400}),
        (json.dumps({**GOOD, "n": 10**6}).encode(), {400}),
        (json.dumps({**GOOD, "max_tokens": -1}).encode(), {400}),
        (json.dumps({**GOOD, "tools": [{"type": "function"}]}).encode(), {400}),
        (json.dumps({**GOOD, "api_base": "http://evil"}).encode(), {400}),
    ],
)  # fmt: skip
def test_hostile_bodies_are_a_clear_4xx(platform, account, body, statuses):
    answer = platform.post(CHAT, account.key, content=body)
    assert answer.status_code in statuses, answer.text[:500]
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert error["message"]
        assert error["code"]
    assert platform.chat(account.key, max_tokens=1).status_code == 200


def test_a_model_named_deep_in_the_body_leads_nowhere(platform):
    only_embeddings = platform.sign_up("embeddings")
    body = {**GOOD, "model": "dormouse-chat", "metadata": {"model": "all-minilm-l6-v2"}}
    assert platform.post(CHAT, only_embeddings.key, json=body).status_code == 403
    swapped = b'{"metadata":{"model":"all-minilm-l6-v2"},"input":"x","model":"dormouse-chat"}'
    answer = platform.post("/v1/embeddings", only_embeddings.key, content=swapped)
    assert answer.status_code in (400, 403)


@pytest.mark.parametrize("by", ["header", "path"])
def test_header_or_path_cannot_smuggle_another_model_past_the_check(platform, by):
    only_embeddings = platform.sign_up("embeddings")
    headers = {"x-dormouse-model": "all-minilm-l6-v2"} if by == "header" else {}
    path = "/m/all-minilm-l6-v2" + CHAT if by == "path" else CHAT
    answer = platform.post(path, only_embeddings.key, json=GOOD, headers=headers)
    assert answer.status_code == 400


def test_forged_headers_change_nothing(platform, account):
    forged = {
        "x-envoy-original-dst-host": "127.0.0.1:1",
        "x-dormouse-user": "usr_other",
        "x-dormouse-cold-start-ms": "999",
        "x-request-id": "mine",
        "x-forwarded-for": "10.0.0.1",
    }
    answer = platform.post(CHAT, account.key, json=GOOD, headers=forged)
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] != "mine"
    assert answer.headers.get("x-dormouse-cold-start-ms") != "999"
    row = platform.usage(account.access_token, answer.headers["x-request-id"])
    assert row["key_id"] == account.key_id


def test_a_predictor_called_directly_refuses(platform, account):
    platform.chat(account.key, max_tokens=1)
    [predictor] = platform.predictors(account.key, "chat")
    url = f"http://127.0.0.1:{predictor['port']}"
    for headers in (
        {},
        {"authorization": f"Bearer {account.key}"},
        {"authorization": f"Bearer {account.access_token}"},
        {"authorization": "Bearer x.y.z"},
        {"x-dormouse-user": account.email},
    ):
        answer = httpx.post(url + CHAT, json=GOOD, headers=headers)
        assert answer.status_code == 401, answer.text
    for path in (
        "/v1/models/dormouse-chat:predict",
        "/v2/models/dormouse-chat/infer",
        "/v2/repository/models/dormouse-chat/unload",
        "/v2/repository/models/dormouse-chat/load",
        "/metrics",
        "/docs",
        "/openapi.json",
    ):
        for method in ("GET", "POST"):
            assert httpx.request(method, url + path, json={}).status_code in (401, 404, 405)
    assert httpx.get(url + "/v2/health/live").status_code == 200
    assert httpx.get(url + "/v2/models/dormouse-chat/ready").status_code == 200


def test_the_internal_api_is_not_to_be_had_through_the_gateway(platform, account):
    for path in ("/internal/v1/routes", "/internal/v1/principals", "/metrics"):
        assert platform.get(path, account.key).status_code == 404
        assert platform.post(path, account.key, json={}).status_code in (404, 405)


def test_a_revoked_key_stops_working_within_a_second(platform):
    user = platform.sign_up("chat")
    assert platform.chat(user.key, max_tokens=1).status_code == 200
    path = f"/api/v1/keys/{user.key_id}"
    assert platform.call("DELETE", path, user.access_token).status_code == 204
    assert platform.until(lambda: platform.chat(user.key).status_code == 401, 5) < 1
    assert platform.get("/api/v1/me", user.key).status_code == 401


def test_a_returned_entitlement_and_an_ended_session_stop_within_a_second(platform):
    user = platform.sign_up("chat")
    assert platform.chat(user.access_token, max_tokens=1).status_code == 200
    gone = platform.call("DELETE", "/api/v1/entitlements/chat", user.access_token)
    assert gone.status_code == 204
    assert platform.until(lambda: platform.chat(user.key).status_code == 403, 5) < 1
    assert platform.call("DELETE", "/api/v1/sessions/current", user.access_token).status_code == 204
    assert platform.get("/api/v1/me", user.access_token).status_code == 401
    assert platform.until(lambda: platform.chat(user.access_token).status_code == 401, 5) < 1


def test_no_secret_is_in_the_log(platform, account):
    platform.chat(account.key, text="a-secret-prompt", max_tokens=1)
    log = platform.log()
    assert '"process":"gateway"' in log.replace(" ", "")
    for secret in (
        account.key,
        account.access_token,
        account.refresh_token,
        "a-secret-prompt",
        "a long enough password",
    ):
        assert secret not in log


def test_one_request_id_runs_through_every_process(platform, account):
    request_id = platform.chat(account.key, max_tokens=1).headers["x-request-id"]
    platform.usage(account.access_token, request_id)

    def logged_by():
        lines = [json.loads(line) for line in platform.log().splitlines() if request_id in line]
        return {line["process"] for line in lines}

    platform.until(lambda: {"gateway", "predictor:chat"} <= logged_by())
