"""A real Envoy with our configuration: routes, checks, refusals, request ids."""

import socket
import threading

import httpx
import pytest

from dormouse_control.authorizer.refusals import WIRE_STATUS
from fixtures.raw_http import exchange

MODEL = b'{"model":"dormouse-chat"}'


@pytest.mark.parametrize(
    ("asked", "reached"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/m/some-model/v1/chat/completions", "/v1/chat/completions"),
        ("/m/some-model/embeddings", "/v1/embeddings"),
        ("/v1/completions", "/v1/completions"),
        ("/embeddings", "/v1/embeddings"),
        ("//v1//chat/./completions", "/v1/chat/completions"),
    ],
)
def test_inference_paths_reach_the_predictor_in_one_form(gateway, asked, reached):
    answer = httpx.post(gateway.url + asked, content=MODEL)
    assert answer.status_code == 200
    assert [call.path for call in gateway.predictor.seen] == [reached]
    assert len(gateway.authorizer.seen) == 1
    assert gateway.control_plane.seen == []


@pytest.mark.parametrize(
    ("asked", "reached"),
    [
        ("/v1/models", "/v1/models"),
        ("/models", "/v1/models"),
        ("/models/dormouse-chat", "/v1/models/dormouse-chat"),
        ("/api/v1/me", "/api/v1/me"),
        ("/healthz", "/healthz"),
        ("/v1/chat/completions/x", "/v1/chat/completions/x"),
        ("/x/v1/chat/completions", "/x/v1/chat/completions"),
    ],
)
def test_everything_else_reaches_the_control_plane_unchecked(gateway, asked, reached):
    answer = httpx.get(gateway.url + asked, headers={"authorization": "Bearer mine"})
    assert answer.status_code == 200
    [call] = gateway.control_plane.seen
    assert (call.path, call.headers["authorization"]) == (reached, "Bearer mine")
    assert gateway.authorizer.seen == []
    assert gateway.predictor.seen == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1%2fchat/completions",
        "/v1%2Fmodels",
        "/v1/chat%5ccompletions",
        "/v1/%2e%2e%2fapi",
    ],
)
def test_escaped_slashes_are_refused(gateway, path):
    answer = httpx.post(gateway.url + path, content=MODEL)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"
    assert gateway.predictor.seen == gateway.control_plane.seen == []


def test_no_path_goes_to_a_predictor_unchecked(gateway):
    for path in (
        "/v1/chat/completions/",
        "/V1/chat/completions",
        "/v1/chat/completions;x",
        "/m//v1/chat/completions",
        "/v1/embeddings/../chat/completions",
    ):
        gateway.forget()
        httpx.post(gateway.url + path, content=MODEL)
        assert len(gateway.predictor.seen) <= len(gateway.authorizer.seen)


def test_the_predictor_gets_the_internal_token_instead_of_the_callers(gateway):
    httpx.post(
        gateway.url + "/v1/embeddings", content=MODEL, headers={"authorization": "Bearer dm_secret"}
    )
    [check], [call] = gateway.authorizer.seen, gateway.predictor.seen
    assert check.headers["authorization"] == "Bearer dm_secret"
    assert check.body == b""  # headers only
    assert call.headers["authorization"] == "Bearer internal"
    assert "dm_secret" not in str(call.headers)


def test_the_authorizers_refusal_reaches_the_caller_as_it_is(gateway):
    authorizer = gateway.authorizer
    kept = (authorizer.status, authorizer.headers, authorizer.body)
    authorizer.status, authorizer.body = 429, b'{"error":{"code":"queue_full"}}'
    authorizer.headers = {"content-type": "application/json", "retry-after": "7"}
    try:
        answer = httpx.post(gateway.url + "/v1/embeddings", content=MODEL)
    finally:
        authorizer.status, authorizer.headers, authorizer.body = kept
    assert (answer.status_code, answer.content) == (429, b'{"error":{"code":"queue_full"}}')
    assert answer.headers["retry-after"] == "7"
    assert gateway.predictor.seen == []


@pytest.mark.parametrize(("status", "wire"), WIRE_STATUS.items())
def test_the_authorizers_own_5xx_reaches_the_caller_too(gateway, status, wire):
    authorizer = gateway.authorizer
    kept = (authorizer.status, authorizer.headers, authorizer.body)
    authorizer.status, authorizer.body = wire, b'{"error":{"code":"waking_failed"}}'
    authorizer.headers = {"content-type": "application/json", "retry-after": "5"}
    try:
        answer = httpx.post(gateway.url + "/v1/embeddings", content=MODEL)
    finally:
        authorizer.status, authorizer.headers, authorizer.body = kept
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "5")
    assert answer.json() == {"error": {"code": "waking_failed"}}


def test_old_clients_of_http_1_0_are_served(gateway):
    with socket.create_connection(("127.0.0.1", httpx.URL(gateway.url).port), 5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\nhost: localhost\r\n\r\n")
        assert b" 200 OK" in connection.recv(4096)


def test_a_check_is_held_while_a_service_wakes(gateway):
    gateway.authorizer.delay_seconds = 2.0
    try:
        answer = httpx.post(gateway.url + "/v1/embeddings", content=MODEL)
    finally:
        gateway.authorizer.delay_seconds = 0.0
    assert answer.status_code == 200
    assert len(gateway.authorizer.seen) == 1


def test_every_call_gets_an_id_of_its_own_whatever_the_caller_sends(gateway):
    mine = {"x-request-id": "11111111-1111-1111-1111-111111111111"}
    ids = set()
    for _ in range(3):
        answer = httpx.post(gateway.url + "/v1/embeddings", content=MODEL, headers=mine)
        ids.add(answer.headers["x-request-id"])
    assert len(ids) == 3
    assert mine["x-request-id"] not in ids
    assert {call.headers["x-request-id"] for call in gateway.predictor.seen} == ids


def test_a_body_over_the_limit_is_413_in_our_shape(gateway):
    known = {"authorization": "Bearer somebody"}
    body = b"x" * (3 * 1024 * 1024)
    answer = httpx.post(gateway.url + "/v1/embeddings", content=body, headers=known)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


def test_header_names_with_underscores_are_refused(gateway):
    assert httpx.get(gateway.url + "/healthz", headers={"x_forged": "1"}).status_code == 400


@pytest.mark.parametrize("path", ["/healthz", "/v1/chat/completions", "/m/a/v1/embeddings", "/x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "spdy/3.1", "websocket, h2c"])
def test_t56_no_connection_becomes_a_websocket(gateway, path, method, upgrade):
    headers = {"connection": "keep-alive, Upgrade", "upgrade": upgrade}
    answer = httpx.request(
        method, gateway.url + path, headers=headers | {"authorization": "Bearer a"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "upgrade_refused")
    assert not [*gateway.authorizer.seen, *gateway.control_plane.seen, *gateway.predictor.seen]


def test_a_tunnel_leads_nowhere(gateway):
    port = httpx.URL(gateway.url).port
    asked = b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n"
    answer, closed = exchange(port, asked)
    assert closed
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"code":"not_found"' in answer


def test_a_predictor_that_is_gone_is_a_503_that_may_be_tried_again(gateway):
    headers = gateway.authorizer.headers
    gateway.authorizer.headers = {**headers, "x-envoy-original-dst-host": "127.0.0.1:1"}
    try:
        answer = httpx.post(gateway.url + "/v1/embeddings", content=MODEL)
    finally:
        gateway.authorizer.headers = headers
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.json()["error"]["code"] == "unavailable"


def test_r42_a_predictor_that_ends_while_it_answers_is_told_from_one_that_is_not_there(gateway):
    """Whoever makes the call again must know which of both it was."""
    headers = gateway.authorizer.headers
    with socket.create_server(("127.0.0.1", 0)) as server:

        def dies():
            connection, _ = server.accept()
            connection.recv(65536)
            connection.close()

        dying = threading.Thread(target=dies)
        dying.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        gateway.authorizer.headers = {**headers, "x-envoy-original-dst-host": address}
        try:
            answer = httpx.post(gateway.url + "/v1/embeddings", content=MODEL)
        finally:
            gateway.authorizer.headers = headers
            dying.join()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "predictor_died")
    assert answer.headers["retry-after"] == "1"


FORGED = (
    {},
    {"x-envoy-external-address": "192.0.2.1"},
    {"x-forwarded-for": "192.0.2.1"},
    {"x-forwarded-for": "192.0.2.1, 192.0.2.2"},
    {"x-forwarded-for": "nonsense", "x-envoy-external-address": "192.0.2.1"},
    {"x-envoy-internal": "true", "x-envoy-external-address": "192.0.2.1"},
    {"x-real-ip": "192.0.2.1", "forwarded": "for=192.0.2.1", "x-envoy-peer-metadata": "x"},
)


def _addresses(gateway, headers):
    """What authorizer and control plane are told of where a call comes from."""
    gateway.forget()
    httpx.post(gateway.url + "/v1/embeddings", content=MODEL, headers=headers)
    httpx.get(gateway.url + "/api/v1/me", headers=headers)
    seen = [*gateway.authorizer.seen, *gateway.control_plane.seen]
    assert len(seen) == 2
    return {call.headers.get("x-envoy-external-address") for call in seen}


@pytest.mark.parametrize("forged", FORGED)
def test_nobody_chooses_the_address_that_they_come_from(gateway, forged):
    assert _addresses(gateway, forged) == {"127.0.0.1"}
    assert "x-envoy-external-address" not in gateway.predictor.seen[0].headers


def test_nobody_chooses_their_address_by_sending_it_twice(gateway):
    twice = [("x-envoy-external-address", "192.0.2.1"), ("x-envoy-external-address", "192.0.2.2")]
    assert _addresses(gateway, twice) == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"x-forwarded-for": "198.51.100.9"}, "198.51.100.9"),
        ({"x-forwarded-for": "192.0.2.1, 198.51.100.9"}, "198.51.100.9"),
        ({"x-forwarded-for": "192.0.2.1", "x-envoy-external-address": "192.0.2.3"}, "192.0.2.1"),
        ({"x-envoy-external-address": "192.0.2.3"}, "127.0.0.1"),
        ({"x-forwarded-for": "nonsense", "x-envoy-external-address": "192.0.2.3"}, "127.0.0.1"),
    ],
)
def test_behind_a_proxy_of_ours_its_word_counts(behind_a_proxy, headers, address):
    assert _addresses(behind_a_proxy, headers) == {address}


def test_only_metrics_leave_the_admin_interface(gateway):
    assert "envoy_http_downstream_rq_total" in httpx.get(gateway.metrics_url).text
    other = gateway.metrics_url.replace("/metrics", "/quitquitquit")
    assert httpx.post(other).status_code == 404


@pytest.mark.parametrize(
    "claimed",
    [
        {},
        {"x-forwarded-for": "192.0.2.7"},
        {"x-forwarded-for": "192.0.2.7, 10.0.0.1, 127.0.0.9"},
        {"x-envoy-external-address": "192.0.2.7"},
        {"X-Envoy-External-Address": "192.0.2.7", "x-forwarded-for": "192.0.2.7"},
        {"x-real-ip": "192.0.2.7", "forwarded": "for=192.0.2.7", "true-client-ip": "192.0.2.7"},
        {"connection": "x-envoy-external-address"},
        [("x-envoy-external-address", "192.0.2.7"), ("x-envoy-external-address", "192.0.2.8")],
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/sessions", "/v1/chat/completions"])
def test_t30_the_address_is_that_of_the_connection_whatever_is_claimed(gateway, claimed, path):
    """Guesses are counted by it, and keys are bound to it."""
    httpx.post(gateway.url + path, headers=claimed, content=MODEL)
    seen = gateway.control_plane.seen or gateway.authorizer.seen
    assert [call.headers.get("x-envoy-external-address") for call in seen] == ["127.0.0.1"]


def test_t30_another_address_of_the_connection_is_another_address(gateway):
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as client:
        client.post(gateway.url + "/api/v1/sessions", content=b"{}")
    [call] = gateway.control_plane.seen
    assert call.headers["x-envoy-external-address"] == "127.0.0.2"
