"""The worker with a gateway on a real socket that answers as the test says."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import Connection, event, update

from dormouse.delegation import verify_delegation
from dormouse_control import keys
from dormouse_control.background import Background
from dormouse_control.requests import calling, writing
from dormouse_control.requests.calling import LONGEST_ANSWER
from dormouse_control.requests.models import AsyncRequest, RequestStatus
from dormouse_control.requests.worker import Worker
from dormouse_control.wiring import Platform
from fixtures.asynchronous import BODY, ask_async
from fixtures.control_plane import Account, FakeClock

Answer = tuple[int, dict[str, str], bytes]
REFUSED: Answer = (
    429,
    {"retry-after": "3"},
    json.dumps(
        {"error": {"message": "m", "type": "t", "param": None, "code": "rate_limited"}}
    ).encode(),
)
DIED: Answer = (503, {"retry-after": "1"}, REFUSED[2].replace(b"rate_limited", b"predictor_died"))
DONE: Answer = (200, {}, b'{"usage": {"total_tokens": 1}}')


class Gateway:
    """Answers with each of `answers` in turn, and then `DONE`; None: it hangs until hung up on;
    "later": when `go_on` is set; "half": breaks off."""

    def __init__(self) -> None:
        self.answers: list[Answer | str | None] = []
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.left = threading.Event()
        self.go_on = threading.Event()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = gateway.answers.pop(0) if gateway.answers else DONE
                gateway.seen.append((self.path, headers, body))
                if answer is None:
                    self.connection.recv(1)
                    gateway.left.set()
                elif answer == "later":
                    gateway.go_on.wait(20)
                    self.answer(*DONE)
                elif answer == "half":
                    self.send_response(200)
                    self.send_header("content-length", "9")
                    self.end_headers()
                    self.wfile.write(b"{")
                    self.close_connection = True
                elif answer == "break":
                    self.connection.shutdown(socket.SHUT_RDWR)
                elif not isinstance(answer, str):
                    with contextlib.suppress(OSError):
                        self.answer(*answer)

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

            def address_string(self) -> str:
                return "unix"

        return Handler


class _UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)


@pytest.fixture
def gateway(platform: Platform) -> Iterator[Gateway]:
    found = Gateway()
    path = str(platform.settings.calls_socket)
    server = _UnixServer(path, found.handler())  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def working(platform: Platform, gateway: Gateway) -> Iterator[Background]:
    """Started, with a gateway that nobody has asked yet."""
    assert gateway.seen == []
    background = Background([Worker(platform).run], name="requests")
    background.start()
    yield background
    background.stop(10)


def _until(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _look(account: Account, id: str) -> Any:
    return account.get(f"/api/v1/requests/{id}").json()


@pytest.mark.usefixtures("working")
def test_the_call_is_made_as_its_user_would(
    ada: Account, gateway: Gateway, platform: Platform
) -> None:
    key = ada.key()
    asked = ask_async(
        ada, credential=key["key"], x_dormouse_priority="2", x_envoy_external_address="192.0.2.7"
    )
    _until(lambda: _look(ada, asked["id"])["status"] == "completed")

    [(path, headers, body)] = gateway.seen
    assert (path, json.loads(body)) == ("/v1/chat/completions", BODY)
    assert (headers["x-dormouse-model"], headers["x-dormouse-priority"]) == ("small", "2")
    assert headers["x-request-id"] == asked["request_id"]
    assert "prefer" not in headers
    ring = keys.key_ring(platform.settings.keys_folder, "delegated")
    found = verify_delegation(
        headers["authorization"].removeprefix("Bearer "),
        request=asked["request_id"],
        keys=ring,
        now=platform.clock().timestamp(),
    )
    assert (found.user, found.credential, found.address) == (ada.id, key["id"], "192.0.2.7")
    assert _look(ada, asked["id"])["result"]["usage"] == {"total_tokens": 1}


@pytest.mark.usefixtures("working")
def test_what_comes_too_early_is_tried_again_under_the_same_id(
    ada: Account, gateway: Gateway, clock: FakeClock
) -> None:
    gateway.answers = [REFUSED, "break"]
    asked = ask_async(ada)["id"]
    _until(lambda: _look(ada, asked)["stage"] == "waiting_to_retry")
    found = _look(ada, asked)
    assert (found["status"], found["refusal"]["code"]) == ("queued", "rate_limited")
    clock.advance(seconds=2)
    time.sleep(1)
    assert len(gateway.seen) == 1

    clock.advance(seconds=1)
    _until(lambda: len(gateway.seen) == 2 and _look(ada, asked)["stage"] == "waiting_to_retry")
    assert _look(ada, asked)["refusal"]["code"] == "interrupted"
    clock.advance(seconds=10)
    _until(lambda: _look(ada, asked)["status"] == "completed")
    assert _look(ada, asked)["attempts"] == 3
    assert len({headers["x-request-id"] for _, headers, _ in gateway.seen}) == 1


@pytest.mark.usefixtures("working")
def test_one_that_is_cancelled_is_hung_up_on(ada: Account, gateway: Gateway) -> None:
    gateway.answers = [None]
    asked = ask_async(ada)["id"]
    _until(lambda: gateway.seen)
    assert _look(ada, asked)["status"] == "running"

    ada.delete(f"/api/v1/requests/{asked}")

    assert gateway.left.wait(20)
    assert _look(ada, asked)["status"] == "cancelled"


def test_what_runs_when_it_stops_is_given_back(
    ada: Account, gateway: Gateway, working: Background, platform: Platform
) -> None:
    gateway.answers = [None]
    asked = ask_async(ada)["id"]
    _until(lambda: gateway.seen)
    working.stop(10)
    found = _look(ada, asked)
    assert (found["status"], found["attempts"]) == ("queued", 1)

    again = Background([Worker(platform).run], name="requests")
    again.start()
    _until(lambda: _look(ada, asked)["status"] == "completed")
    again.stop(10)
    assert _look(ada, asked)["attempts"] == 2


@pytest.mark.usefixtures("working")
def test_one_that_nobody_survives_is_given_up(
    ada: Account, gateway: Gateway, clock: FakeClock, platform: Platform
) -> None:
    gateway.answers = ["break"]
    asked = ask_async(ada)["id"]
    _until(lambda: _look(ada, asked)["stage"] == "waiting_to_retry")
    with platform.database.sessions.begin() as session:
        lost = {"status": RequestStatus.RUNNING, "interruptions": 2, "lease_until": clock.time}
        session.execute(update(AsyncRequest).values(**lost))
    _until(lambda: _look(ada, asked)["status"] == "failed")

    assert _look(ada, asked)["refusal"]["code"] == "interrupted"
    assert len(gateway.seen) == 1


@pytest.mark.usefixtures("working")
def test_r42_one_that_three_predictors_did_not_survive_is_refused_and_others_go_on(
    ada: Account, gateway: Gateway, clock: FakeClock
) -> None:
    gateway.answers = [DIED, DIED, DIED]
    asked = ask_async(ada)["id"]
    for times in (1, 2, 3):
        _until(lambda n=times: len(gateway.seen) == n)
        _until(lambda: _look(ada, asked)["stage"] == "waiting_to_retry")
        assert _look(ada, asked)["refusal"]["code"] == "predictor_died"
        clock.advance(seconds=10)
    _until(lambda: _look(ada, asked)["status"] == "failed")

    found = _look(ada, asked)
    assert found["refusal"]["code"] == "interrupted"
    assert found["request_id"] in found["refusal"]["message"]
    assert len(gateway.seen) == 3
    other = ask_async(ada)["id"]
    _until(lambda: _look(ada, other)["status"] == "completed")


@pytest.mark.usefixtures("working")
def test_r42_answers_that_break_off_are_not_asked_for_without_end(
    ada: Account, gateway: Gateway, clock: FakeClock
) -> None:
    gateway.answers = ["half"] * 9
    asked = ask_async(ada)["id"]
    for times in (1, 2, 3):
        _until(lambda n=times: len(gateway.seen) == n)
        _until(lambda: _look(ada, asked)["stage"] == "waiting_to_retry")
        clock.advance(seconds=10)
    _until(lambda: _look(ada, asked)["status"] == "failed")
    assert _look(ada, asked)["refusal"]["code"] == "interrupted"
    assert len(gateway.seen) == 3


@pytest.mark.usefixtures("working")
def test_an_answer_without_end_is_not_kept(ada: Account, gateway: Gateway) -> None:
    gateway.answers = [(200, {}, b"x" * (LONGEST_ANSWER + 1))]
    asked = ask_async(ada)["id"]
    _until(lambda: _look(ada, asked)["status"] == "failed", 60)
    found = _look(ada, asked)
    assert (found["refusal"]["code"], found["result"]) == ("answer_too_large", None)


@pytest.mark.usefixtures("working")
def test_a_tag_arrives_as_its_bytes_were(ada: Account, gateway: Gateway) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    asked = ask_async(ada, x_dormouse_tag_team="Köln")["id"]
    _until(lambda: _look(ada, asked)["status"] == "completed")
    [(_, headers, _)] = gateway.seen
    assert headers["x-dormouse-tag-team"].encode("latin-1").decode() == "Köln"


@pytest.mark.usefixtures("working")
def test_a_defect_of_ours_is_no_reason_to_try_again(
    ada: Account, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise UnicodeEncodeError("ascii", "é", 0, 1, "of ours")

    monkeypatch.setattr(calling, "sign_delegation", broken)
    asked = ask_async(ada)["id"]
    _until(lambda: _look(ada, asked)["status"] == "failed")
    found = _look(ada, asked)
    assert (found["refusal"]["code"], found["attempts"]) == ("internal_error", 1)
    assert gateway.seen == []


def test_an_answer_is_written_before_what_runs_is_given_back(
    ada: Account, working: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the database's one writer, say."""
    began, go_on = threading.Event(), threading.Event()
    write = writing.write

    def slow(*given: Any) -> bool:
        began.set()
        assert go_on.wait(20)
        return write(*given)

    monkeypatch.setattr(writing, "write", slow)
    asked = ask_async(ada)["id"]
    assert began.wait(20)
    stopping = threading.Thread(target=working.stop, args=(30,))
    stopping.start()
    stopping.join(2)
    assert _look(ada, asked)["status"] == "running"
    go_on.set()
    stopping.join(30)
    assert not stopping.is_alive()
    found = _look(ada, asked)
    assert (found["status"], found["attempts"]) == ("completed", 1)


class _Full:
    """A database that takes no more than some pages, as long as it is told so."""

    def __init__(self, platform: Platform) -> None:
        engine = platform.database.engine
        if engine.dialect.name != "sqlite":
            pytest.skip("PostgreSQL's disk is not ours to fill")
        with engine.connect() as connection:
            self._most = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 50
        self.full = True
        self.refused = threading.Event()
        event.listen(engine, "begin", self._limit)
        event.listen(engine, "handle_error", lambda _: self.refused.set())

    def _limit(self, connection: Connection) -> None:
        most = self._most if self.full else 1_000_000
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")


LONG: Answer = (200, {}, b'{"a": "' + b"x" * 1_000_000 + b'"}')


@pytest.mark.usefixtures("working")
def test_r42_what_cannot_be_stored_is_not_computed_again(
    ada: Account, gateway: Gateway, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "PAUSES", (0.1, 0.1))
    monkeypatch.setattr(writing, "LAST_PAUSE", 0.1)
    gateway.answers = [LONG]
    _Full(platform)
    asked = ask_async(ada)["id"]
    _until(lambda: _look(ada, asked)["status"] == "failed")
    found = _look(ada, asked)
    assert (found["refusal"]["code"], found["attempts"]) == ("insufficient_storage", 1)
    assert len(gateway.seen) == 1


@pytest.mark.usefixtures("working")
def test_an_answer_waits_for_room_on_the_disk(
    ada: Account, gateway: Gateway, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "PAUSES", (0.2,) * 1000)
    gateway.answers = [LONG]
    disk = _Full(platform)
    asked = ask_async(ada)["id"]
    assert disk.refused.wait(20)
    assert _look(ada, asked)["status"] == "running"
    disk.full = False
    _until(lambda: _look(ada, asked)["status"] == "completed")
    assert len(gateway.seen) == 1


@pytest.mark.usefixtures("working")
def test_an_answer_beyond_the_share_of_its_user_is_not_kept(
    ada: Account, gateway: Gateway, platform: Platform
) -> None:
    object.__setattr__(platform.settings, "async_stored_mb", 1)
    gateway.answers = [(200, {}, b"x" * 1_048_576), (200, {}, b'"y"')]
    asked = ask_async(ada)["id"]
    _until(lambda: _look(ada, asked)["status"] == "failed")
    found = _look(ada, asked)
    assert (found["refusal"]["code"], found["result"]) == ("answer_too_large", None)
    small = ask_async(ada)["id"]
    _until(lambda: _look(ada, small)["status"] == "completed")


@pytest.mark.usefixtures("working")
def test_an_answer_takes_nothing_of_what_the_platform_needs_itself(
    ada: Account, platform: Platform, monkeypatch: pytest.MonkeyPatch, gateway: Gateway
) -> None:
    monkeypatch.setattr(writing, "PAUSES", (0.1,))
    monkeypatch.setattr(writing, "LAST_PAUSE", 0.1)
    gateway.answers = ["later"]
    asked = ask_async(ada)["id"]
    _until(lambda: gateway.seen)
    object.__setattr__(platform.settings, "reserved_disk_mb", 2**30)
    gateway.go_on.set()
    _until(lambda: _look(ada, asked)["status"] == "failed")
    assert _look(ada, asked)["refusal"]["code"] == "insufficient_storage"


def test_so_many_run_at_once_and_users_take_turns(
    ada: Account, gateway: Gateway, platform: Platform, sign_up: Callable[..., Account]
) -> None:
    object.__setattr__(platform.settings, "async_running", 4)
    gateway.answers = [None] * 20
    for _ in range(6):
        ask_async(ada)
    bob = sign_up("bob@example.org")
    for _ in range(2):
        ask_async(bob)
    background = Background([Worker(platform).run], name="requests")
    background.start()
    try:
        _until(lambda: len(gateway.seen) == 4)
        time.sleep(1)
        assert len(gateway.seen) == 4
        states = [each["status"] for each in bob.get("/api/v1/requests").json()["items"]]
        assert states == ["running", "running"]
    finally:
        background.stop(10)
