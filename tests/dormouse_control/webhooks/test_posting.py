"""T57, T59, T61: one message to a receiver that may be hostile, over real sockets."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from dormouse_control.gateway import certificates
from dormouse_control.webhooks import posting
from dormouse_control.webhooks.addresses import Allowed, Refused
from dormouse_control.webhooks.lookups import Lookups

HERE = Allowed.of(["127.0.0.0/8"])
BODY = b'{"a": 1}'


class Receiver:
    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.seen.append((self.path, headers, body))
                with contextlib.suppress(OSError):
                    answer(self)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)


@contextlib.contextmanager
def receiving(
    answer: Callable[[BaseHTTPRequestHandler], None], context: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    found = Receiver(answer)
    if context is not None:
        found.server.socket = context.wrap_socket(found.server.socket, server_side=True)
    found.thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()


def _post(url: str, allowed: Allowed = HERE) -> int:
    lookup = partial(Lookups().addresses, "usr_1")
    headers = {"webhook-id": "msg_1"}
    return asyncio.run(posting.post(url, BODY, headers, allowed=allowed, lookup=lookup))


def _status(status: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return answer


def test_what_arrives() -> None:
    with receiving(_status(204)) as receiver:
        assert _post(f"http://127.0.0.1:{receiver.port}/a?b=c") == 204

    [(path, headers, body)] = receiver.seen
    assert (path, body) == ("/a?b=c", BODY)
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == "msg_1"
    assert "authorization" not in headers


def test_t59_no_redirect_is_followed() -> None:
    with receiving(_status(204)) as other:
        location = f"http://127.0.0.1:{other.port}/metadata"
        for status in (301, 302, 303, 307, 308):
            with receiving(_status(status, location=location)) as receiver:
                assert _post(f"http://127.0.0.1:{receiver.port}/") == status
        assert other.seen == []


def _resolving(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Names lead to each of `answers` in turn; who was asked for."""
    asked: list[str] = []
    rest = list(answers)

    async def addresses(_: Lookups, _user: str, host: str, _port: int) -> list[str]:
        asked.append(host)
        return [rest.pop(0)]

    monkeypatch.setattr(Lookups, "addresses", addresses)
    return asked


def test_t59_the_name_is_looked_up_once_and_the_connection_goes_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever answers otherwise the second time is not asked a second time."""
    asked = _resolving(monkeypatch, "127.0.0.1")
    allowed = Allowed.of(["hooks.test"])
    with receiving(_status(200)) as receiver:
        assert _post(f"http://hooks.test:{receiver.port}/", allowed) == 200
    assert asked == ["hooks.test"]
    assert receiver.seen[0][1]["host"] == f"hooks.test:{receiver.port}"


def test_t57_nothing_is_connected_to_what_is_not_public(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connected: list[Any] = []
    connect = socket.socket.connect
    monkeypatch.setattr(
        socket.socket, "connect", lambda *given: connected.append(given[1]) or connect(*given)
    )
    with receiving(_status(200)) as receiver:
        _resolving(monkeypatch, *["127.0.0.1"] * 2)
        for url in (
            f"https://127.0.0.1:{receiver.port}/",
            f"https://hooks.test:{receiver.port}/",
            f"http://hooks.test:{receiver.port}/",
        ):
            with pytest.raises(Refused):
                _post(url, Allowed.of(()))
        assert receiver.seen == []
    assert connected == []


def test_the_certificate_is_of_the_name_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificates.keep(tmp_path, ["hooks.test"], now=datetime.now(UTC))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    trusting = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    monkeypatch.setattr(posting, "_certificates", lambda: trusting)
    _resolving(monkeypatch, "127.0.0.1", "127.0.0.1")
    with receiving(_status(200), server) as receiver:
        assert _post(f"https://hooks.test:{receiver.port}/") == 200
        with pytest.raises(httpx.ConnectError, match=r"Hostname mismatch|not valid"):
            _post(f"https://other.test:{receiver.port}/")
        monkeypatch.undo()
        _resolving(monkeypatch, "127.0.0.1")
        with pytest.raises(httpx.ConnectError, match=r"self.signed"):
            _post(f"https://hooks.test:{receiver.port}/")


def test_t61_who_answers_without_end_is_not_listened_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(posting, "SECONDS", 1.0)
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "100000")
        handler.end_headers()
        while not stop.wait(0.1):
            handler.wfile.write(b"x")

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stop.is_set():
            handler.wfile.write(b"x" * 65536)

    began = time.monotonic()
    with receiving(drip) as receiver, pytest.raises(TimeoutError):
        _post(f"http://127.0.0.1:{receiver.port}/")
    assert time.monotonic() - began < 15
    with receiving(flood) as receiver:
        assert _post(f"http://127.0.0.1:{receiver.port}/") == 200
    stop.set()


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (Refused("x"), "address_not_allowed"),
        (TimeoutError(), "timeout"),
        (httpx.ReadTimeout("x"), "timeout"),
        (socket.gaierror(), "name_not_resolved"),
        (httpx.ConnectError("10.0.0.1 refused"), "no_answer"),
    ],
)
def test_what_the_owner_is_told_names_nothing_inside(error: Exception, word: str) -> None:
    assert posting.problem(error) == word
