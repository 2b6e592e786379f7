"""A credential counts in one authorization header and nowhere else, at both doors alike."""

from typing import Any

import pytest
from starlette.testclient import TestClient

CALL = "/v1/chat/completions"

# {key}: a valid key. Each: headers, query, whether it is let in.
FORMS: list[tuple[list[tuple[str, str]], str, bool]] = [
    ([("authorization", "Bearer {key}")], "", True),
    ([("authorization", "bearer {key}")], "", True),
    ([("authorization", "BEARER {key}")], "", True),
    ([("authorization", "Bearer {key}")], "?verbose=1", True),
    ([], "", False),
    ([("authorization", "")], "", False),
    ([("authorization", "{key}")], "", False),
    ([("authorization", "Bearer")], "", False),
    ([("authorization", "Basic {key}")], "", False),
    ([("authorization", "Token {key}")], "", False),
    ([("authorization", "Bearer,{key}")], "", False),
    ([("authorization", "Bearer\t{key}")], "", False),
    ([("authorization", "Bearer  {key}")], "", False),
    ([("authorization", 'Bearer "{key}"')], "", False),
    ([("authorization", "Bearer {key}"), ("authorization", "Bearer {key}")], "", False),
    ([("authorization", "Bearer {key}"), ("authorization", "Bearer wrong")], "", False),
    ([("authorization", "Bearer wrong"), ("authorization", "Bearer {key}")], "", False),
    ([("authorization", "Bearer wrong,Bearer {key}")], "", False),
    ([("authorization", "Bearer {key}, Bearer {key}")], "", False),
    ([("x-api-key", "{key}")], "", False),
    ([("api-key", "{key}")], "", False),
    ([("x-goog-api-key", "{key}")], "", False),
    ([("proxy-authorization", "Bearer {key}")], "", False),
    ([("x-authorization", "Bearer {key}")], "", False),
    ([("x-forwarded-authorization", "Bearer {key}")], "", False),
    ([("cookie", "authorization=Bearer {key}; token={key}; session={key}")], "", False),
    ([("sec-websocket-protocol", "openai-insecure-api-key.{key}")], "", False),
    ([], "?api_key={key}", False),
    ([], "?key={key}", False),
    ([], "?access_token={key}", False),
    ([("authorization", "Bearer {key}")], "?api_key={key}", False),
    ([("authorization", "Bearer {key}")], "?API_KEY=x", False),
    ([("authorization", "Bearer {key}")], "?a=b&anything={key}", False),
    ([("authorization", "Bearer {key}")], "?access_token=a.b.c", False),
]


def filled(key: str, headers: Any, query: str) -> tuple[list[tuple[str, str]], str]:
    return [(name, value.replace("{key}", key)) for name, value in headers], query.replace(
        "{key}", key
    )


@pytest.mark.parametrize("narrowed", [False, True])
def test_t21_both_doors_decide_the_same_about_every_form(
    client: TestClient, ada: Any, gate: Any, narrowed: bool
) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    limits = {"services": ["chat"], "ip_ranges": ["192.0.2.0/24"]} if narrowed else {}
    key = ada.post("/api/v1/keys", {"name": "k", **limits}).json()["key"]
    from_here = [("x-envoy-external-address", "192.0.2.7")]
    wrong = []
    for headers, query, let_in in FORMS:
        sent, asked = filled(key, headers, query)
        managed = client.get(f"/api/v1/me{asked}", headers=[*sent, *from_here])
        call = gate.gets([("x-dormouse-model", "small"), *sent, *from_here], CALL + asked)
        expected = (200, 200) if let_in else (401, 401)
        refusal = None if let_in else managed.json().get("error", {}).get("code")
        if (managed.status_code, call[0]) != expected or call[1] != refusal:
            wrong.append((headers, query, managed.status_code, call))
    assert wrong == []


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-envoy-external-address", "198.51.100.1")],
        [("x-forwarded-for", "192.0.2.7")],
        [("x-real-ip", "192.0.2.7"), ("forwarded", "for=192.0.2.7")],
    ],
)
def test_t21_no_channel_carries_another_address(
    client: TestClient, ada: Any, gate: Any, headers: Any
) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    key = ada.post("/api/v1/keys", {"name": "k", "ip_ranges": ["192.0.2.0/24"]}).json()["key"]
    sent = [("authorization", f"Bearer {key}"), *headers]
    assert client.get("/api/v1/me", headers=sent).status_code == 401
    assert gate.gets([("x-dormouse-model", "small"), *sent], CALL)[0] == 401


def test_t21_a_key_in_an_address_is_not_in_the_log(
    client: TestClient, ada: Any, gate: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    key = ada.key()["key"]
    capsys.readouterr()
    assert client.get(f"/api/v1/me?api_key={key}").status_code == 401
    assert gate.gets([("x-dormouse-model", "small")], f"{CALL}?api_key={key}")[0] == 401
    shown = capsys.readouterr()
    assert "/api/v1/me" in shown.out  # it is logged, without its query
    assert key not in shown.out + shown.err
