"""T51: nobody tells the processes behind the gateway who they are, but by their credential."""

import httpx
import pytest

from fixtures.raw_http import ask, exchange

CHAT = "/v1/chat/completions"
BODY = b'{"model":"small"}'
# What each may hear under our names.
ALLOWED = {
    "predictor": {"x-envoy-original-dst-host"},
    "authorizer": {
        "x-dormouse-bytes",
        "x-dormouse-model",
        "x-dormouse-worker",
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-external-address",
        "x-envoy-internal",  # Envoy's own word for its questions
    },
}

FORGED = [
    "x-dormouse-user: usr_admin",
    "X-DORMOUSE-USER: usr_admin",
    "x-dormouse-User : usr_admin",
    "x-dormouse-: usr_admin",
    "x-dormouse-principal: {}",
    "x-dormouse-service: chat",
    "x-dormouse-limits: 9,9,9s,9,9,9s",
    "x-dormouse-limits: 9\r\nx-dormouse-limits: 8",
    "X-Dormouse-Limits: 9",
    "x-dormouse-lim: 9",
    "x-dormouse-ta: 9",
    "x-dormouse-cold-start-ms: 5",
    "x-dormouse-model-error: missing",
    "x-dormouse-worker: 0",
    "x-dormouse-worker: 0\r\nx-dormouse-worker: 1",
    "x-dormouse-bytes: 1",
    "x-dormouse-bytes: 1\r\nx-dormouse-bytes: 1",
    "x-envoy-original-dst-host: 192.0.2.1:1",
    "x-envoy-original-dst-host: 192.0.2.1:1\r\nx-envoy-original-dst-host: 192.0.2.2:2",
    "x-envoy-external-address: 192.0.2.1",
    "x-envoy-internal: true",
    "x-envoy-upstream-rq-timeout-ms: 1",
    "x-envoy-retry-on: 5xx",
    "x-envoy-force-trace: 1",
    "x-envoy-original-path: /x",
    "x-envoy-auth-partial-body: true",
    "connection: authorization",
    "connection: close, authorization, x-request-id",
    "connection: x-envoy-external-address",
    "connection: x-dormouse-model, x-envoy-original-dst-host",
    "connection: host",
    "connection: content-length",
    "te: trailers\r\nconnection: te",
    "keep-alive: x-dormouse-user",
    "proxy-connection: authorization",
    "proxy-authorization: Bearer other",
]


@pytest.mark.parametrize("forged", FORGED)
def test_t51_nothing_of_it_arrives(gateway, forged):
    head = (
        f"host: localhost\r\nauthorization: Bearer mine\r\n{forged}\r\ncontent-length: 17\r\n\r\n"
    )
    request = f"POST {CHAT} HTTP/1.1\r\n{head}".encode() + BODY
    answer = ask(httpx.URL(gateway.url).port, request)
    if answer.startswith(b"HTTP/1.1 400 "):
        assert gateway.authorizer.seen == gateway.predictor.seen == []
        return
    [check], [call] = gateway.authorizer.seen, gateway.predictor.seen
    if "authorization" not in check.headers:  # Envoy drops what `connection` names
        assert check.headers["x-dormouse-model-error"] == "missing"
        return
    for whose, headers in (("authorizer", check.headers), ("predictor", call.headers)):
        named = {name for name in headers if name.startswith(("x-dormouse-", "x-envoy-"))}
        assert named <= ALLOWED[whose]
    assert check.headers["authorization"] == "Bearer mine"
    assert check.headers["x-dormouse-model"] == "small"
    assert check.headers.get("x-dormouse-bytes", "17") == "17"
    assert check.headers["x-envoy-external-address"] == "127.0.0.1"
    assert call.headers["authorization"] == "Bearer internal"
    address = gateway.authorizer.headers["x-envoy-original-dst-host"]
    assert call.headers["x-envoy-original-dst-host"] == address
    assert call.headers["x-request-id"] == check.headers["x-request-id"]
    assert call.body == BODY


@pytest.mark.parametrize(
    "name",
    ["x_dormouse_user", "x-dormouse_user", "authorization_", "x_envoy_internal", "X_User_Id"],
)
@pytest.mark.parametrize("path", [CHAT, "/api/v1/me"])
def test_t51_names_with_underscores_are_refused(gateway, name, path):
    """Some servers read them as dashes."""
    assert httpx.post(gateway.url + path, content=BODY, headers={name: "1"}).status_code == 400
    assert gateway.predictor.seen == gateway.control_plane.seen == []


def test_t51_two_credentials_are_not_one_of_them(gateway):
    """Joined with a comma, which no credential has: the authorizer refuses."""
    head = b"host: localhost\r\nauthorization: Bearer a\r\nAuthorization: Bearer b\r\n"
    request = b"POST " + CHAT.encode() + b" HTTP/1.1\r\n" + head + b"content-length: 17\r\n\r\n"
    ask(httpx.URL(gateway.url).port, request + BODY)
    [check] = gateway.authorizer.seen
    assert check.headers["authorization"] == "Bearer a,Bearer b"


def test_t51_trailers_are_no_headers(gateway):
    head = b"host: localhost\r\nauthorization: Bearer mine\r\ntransfer-encoding: chunked\r\n\r\n"
    trailers = b"x-dormouse-limits: 1\r\nauthorization: Bearer other\r\nx-dormouse-tag-a: b\r\n\r\n"
    request = b"POST " + CHAT.encode() + b" HTTP/1.1\r\n" + head
    exchange(
        httpx.URL(gateway.url).port,
        request + b"11\r\n" + BODY + b"\r\n0\r\n" + trailers,
        seconds=0.3,
    )
    [check], [call] = gateway.authorizer.seen, gateway.predictor.seen
    assert check.headers["authorization"] == "Bearer mine"
    assert not {"x-dormouse-limits", "x-dormouse-tag-a"} & set(call.headers)


def test_tags_of_a_call_and_what_the_check_says_of_limits_reach_the_predictor(gateway):
    tags = {"x-dormouse-tag-team": "red", "X-Dormouse-Tag-Project": "a b", "x-dormouse-tags": "no"}
    kept = gateway.authorizer.headers
    gateway.authorizer.headers = {**kept, "x-dormouse-limits": "60,59,1s,,,"}
    try:
        httpx.post(
            gateway.url + CHAT,
            content=BODY,
            headers={"authorization": "Bearer a", "x-dormouse-limits": "forged", **tags},
        )
    finally:
        gateway.authorizer.headers = kept
    [call], [check] = gateway.predictor.seen, gateway.authorizer.seen
    assert call.headers["x-dormouse-tag-team"] == "red"
    assert call.headers["x-dormouse-tag-project"] == "a b"
    assert call.headers["x-dormouse-limits"] == "60,59,1s,,,"
    assert "x-dormouse-tags" not in call.headers
    assert not [name for name in check.headers if "tag" in name]
