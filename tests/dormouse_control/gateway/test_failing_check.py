"""T53: an authorizer that is gone, hangs or talks nonsense lets nobody pass."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

MODEL = b'{"model":"dormouse-chat"}'
CHAT = "/v1/chat/completions"
OK = b"HTTP/1.1 200 OK\r\n"
ADDRESS = b"x-envoy-original-dst-host: "

# Answers of a check. None says both that the call may go on and where to.
NONSENSE: dict[str, bytes] = {
    "nothing": b"",
    "no HTTP": b"yes, let it pass\r\n\r\n",
    "half a status": b"HTTP/1.1 20",
    "half a head": OK + b"authorization: Bearer internal\r\n",
    "allowed, and no word where to": OK + b"content-length: 0\r\n\r\n",
    "an empty address": OK + ADDRESS + b"\r\ncontent-length: 0\r\n\r\n",
    "a name for an address": OK + ADDRESS + b"predictor:80\r\ncontent-length: 0\r\n\r\n",
    "an address without a port": OK + ADDRESS + b"127.0.0.1\r\ncontent-length: 0\r\n\r\n",
    "an address too far": OK + ADDRESS + b"127.0.0.1:99999\r\ncontent-length: 0\r\n\r\n",
    "two lengths": OK + b"content-length: 0\r\ncontent-length: 1\r\n\r\n",
    "both lengths": OK + b"content-length: 0\r\ntransfer-encoding: chunked\r\n\r\n",
    "headers without end": OK + b"x: " + b"x" * 200_000 + b"\r\n\r\n",
    "a bad header": OK + b"x y\r\ncontent-length: 0\r\n\r\n",
    "a NUL": OK + b"x: \x00\r\ncontent-length: 0\r\n\r\n",
    "a body cut short": OK + b"content-length: 9\r\n\r\nx",
    "go on": b"HTTP/1.1 100 Continue\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "created": b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n",
    "moved": b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
    "an error": b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
    "no such status": b"HTTP/1.1 999 Oops\r\ncontent-length: 0\r\n\r\n",
    "a status of letters": b"HTTP/1.1 OK\r\ncontent-length: 0\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two answers": OK + b"content-length: 0\r\n\r\n" + OK + b"content-length: 0\r\n\r\n",
}


@pytest.fixture
def authorizer(gateway: Any) -> Iterator[Any]:
    yield gateway.authorizer
    gateway.authorizer.raw = None
    gateway.authorizer.delay_seconds = 0.0


def forged(gateway: Any) -> dict[str, str]:
    """Headers of somebody who says what a check would say."""
    return {
        "authorization": "Bearer mine",
        "x-envoy-original-dst-host": gateway.authorizer.headers["x-envoy-original-dst-host"],
        "x-dormouse-limits": "1,1,1s,,,",
        "x-ext-authz-check-result": "allowed",
        "x-envoy-auth-partial-body": "false",
        "x-dormouse-worker": "0",
    }


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("path", [CHAT, "/m/dormouse-chat/v1/embeddings"])
def test_nonsense_lets_nobody_pass(gateway, authorizer, answer, path):
    authorizer.raw = answer
    for _ in range(3):
        with suppress(httpx.RemoteProtocolError):  # what it says of itself may be nonsense too
            refused = httpx.post(
                gateway.url + path, content=MODEL, headers=forged(gateway), timeout=15
            )
            assert refused.status_code != 200
    assert gateway.predictor.seen == []


def test_recovers_as_soon_as_the_check_does(gateway, authorizer):
    authorizer.raw = b""
    assert httpx.post(gateway.url + CHAT, content=MODEL).status_code == 503
    authorizer.raw = None
    assert httpx.post(gateway.url + CHAT, content=MODEL).status_code == 200


def test_a_check_that_hangs_holds_the_call_and_then_refuses_it(gateway, authorizer):
    """Its limit is 10 seconds here: it may wait for a service that wakes."""
    authorizer.delay_seconds = 12.0
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        calls = [
            pool.submit(
                httpx.post,
                gateway.url + CHAT,
                content=MODEL,
                headers=forged(gateway),
                timeout=30,
            )
            for _ in range(20)
        ]
        answers = [call.result() for call in calls]
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["error"]["code"] for answer in answers} == {"unavailable"}
    assert time.monotonic() - began < 15
    assert gateway.predictor.seen == []


def test_what_a_check_does_not_say_is_not_taken_from_the_client(gateway):
    """`limits` are the check's to tell."""
    httpx.post(gateway.url + CHAT, content=MODEL, headers=forged(gateway))
    [call] = gateway.predictor.seen
    assert "x-dormouse-limits" not in call.headers
    assert "x-dormouse-worker" not in call.headers
    assert call.headers["authorization"] == "Bearer internal"
