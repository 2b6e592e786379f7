"""R11: the link to the database is cut when it has committed and says so."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, make_url, select, update
from starlette.testclient import TestClient

from dormouse_control.app import public_app
from dormouse_control.identity.models import ApiKey
from dormouse_control.settings import Settings
from dormouse_control.wiring import build
from fixtures.control_plane import FakeClock, FakeRuntime, new_account
from fixtures.postgres import Pool


class Cutting:
    """A proxy before PostgreSQL. With `cut` it keeps the next reply to a COMMIT, and hangs up."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.cut = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self._target = target

    def serve(self) -> None:
        while True:
            try:
                caller, _ = self.listener.accept()
            except OSError:
                return
            _Link(self, caller, socket.create_connection(self._target)).start()


class _Link:
    def __init__(self, proxy: Cutting, caller: socket.socket, server: socket.socket) -> None:
        self._proxy, self._caller, self._server = proxy, caller, server
        self._committing = False

    def start(self) -> None:
        for end in (self._caller, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for forward in (self._ask, self._answer):
            threading.Thread(target=forward, daemon=True).start()

    def _ask(self) -> None:
        while data := _received(self._caller):
            if self._proxy.cut and b"COMMIT" in data:
                self._proxy.cut, self._committing = False, True
            self._server.sendall(data)
        _hang_up(self._server)

    def _answer(self) -> None:
        while (data := _received(self._server)) and not self._committing:
            self._caller.sendall(data)
        _hang_up(self._caller)
        _hang_up(self._server)


def _received(sender: socket.socket) -> bytes:
    try:
        return sender.recv(65536)
    except OSError:
        return b""


def _hang_up(found: socket.socket) -> None:
    with suppress(OSError):
        found.shutdown(socket.SHUT_RDWR)
    found.close()


@contextmanager
def cutting(server: str) -> Iterator[tuple[Cutting, str]]:
    url = make_url(server)
    proxy = Cutting((str(url.host), int(url.port or 5432)))
    thread = threading.Thread(target=proxy.serve)
    thread.start()
    host, port = proxy.listener.getsockname()
    yield proxy, f"postgresql://{url.username}@{host}:{port}"
    proxy.listener.shutdown(socket.SHUT_RDWR)
    proxy.listener.close()
    thread.join()


@pytest.fixture
def lose(
    postgres_pool: Pool,
    tmp_path: Path,
    services_folder: Path,
    quiet: None,  # noqa: ARG001  a traceback in the log takes a second
) -> Iterator[Callable[..., None]]:
    name = postgres_pool.take()
    with cutting(postgres_pool.server) as (proxy, url):
        settings = Settings(
            home=tmp_path / "home", services=services_folder, database_url=f"{url}/{name}"
        )
        platform = build(settings, runtime=FakeRuntime(), clock=FakeClock())
        ada = new_account(TestClient(public_app(platform)), "ada@example.org")
        yield lambda rounds: _lose(platform, ada, proxy, rounds)
        platform.database.engine.dispose()
    postgres_pool.give_back(name)


def _lose(platform: Any, ada: Any, proxy: Cutting, rounds: int) -> None:
    for number in range(rounds):
        proxy.cut = True
        lost = _made(ada, f"round {number}")
        assert (lost.status_code, lost.headers["retry-after"]) == (503, "1"), lost.text
        assert not proxy.cut
        again = _made(ada, f"round {number}")
        assert (again.status_code, again.headers.get("idempotent-replayed")) == (201, "true")
        with platform.database.sessions.begin() as session:
            living = select(func.count(ApiKey.id)).where(ApiKey.revoked_at.is_(None))
            assert session.scalar(living) == 1
            # There is a limit of keys: what was made is taken away again.
            session.execute(update(ApiKey).values(revoked_at=platform.clock()))


def _made(account: Any, key: str) -> Any:
    headers = {"authorization": f"Bearer {account.access_token}", "idempotency-key": key}
    return account.client.post("/api/v1/keys", json={"name": "a key"}, headers=headers)


@pytest.mark.postgres
def test_r11_twenty_lost_commits_have_one_effect_each(lose: Callable[[int], None]) -> None:
    lose(20)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(1800)
def test_r11_two_thousand_lost_commits_have_one_effect_each(lose: Callable[[int], None]) -> None:
    lose(2000)
