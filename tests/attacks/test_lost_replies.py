"""R11: the connection is cut when the change is committed and its reply is on the way."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from dormouse_control.db import connect
from dormouse_control.identity.models import ApiKey

ACCOUNT = {"email": "ada@example.org", "password": "correct horse battery"}


class Cutting:
    """A proxy before a Unix socket. With `cut` it takes the whole reply and gives none of it."""

    def __init__(self, listener: socket.socket, target: Path) -> None:
        self.cut = False
        self.replies_lost = 0
        self._listener = listener
        self._target = str(target)

    def serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            with closing(caller), socket.socket(socket.AF_UNIX) as server:
                server.connect(self._target)
                self._one(caller, server)

    def _one(self, caller: socket.socket, server: socket.socket) -> None:
        """One request of one connection."""
        server.sendall(_message(caller))
        reply = _message(server)
        if self.cut:
            # The control plane has committed: it has answered.
            self.replies_lost += reply.startswith(b"HTTP/1.1 201")
        else:
            caller.sendall(reply)


def _message(sender: socket.socket) -> bytes:
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen += sender.recv(65536)
    head, _, rest = seen.partition(b"\r\n\r\n")
    [length] = [
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ] or [0]
    while len(rest) < length:
        rest += sender.recv(65536)
    return head + b"\r\n\r\n" + rest


@contextmanager
def cutting(target: Path) -> Iterator[tuple[Cutting, str]]:
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = Cutting(listener, target)
    thread = threading.Thread(target=proxy.serve)
    thread.start()
    yield proxy, f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_r11_fifty_lost_replies_have_one_effect_each(start_control_plane: Any) -> None:
    _lose(start_control_plane().wait(), 50)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_r11_two_thousand_lost_replies_have_one_effect_each(start_control_plane: Any) -> None:
    _lose(start_control_plane().wait(), 2000)


def _lose(process: Any, rounds: int) -> None:
    process.public.post("/api/v1/registrations", json=ACCOUNT).raise_for_status()
    token = process.public.post("/api/v1/sessions", json=ACCOUNT).json()["access_token"]
    made: list[str] = []
    with cutting(process.home / "run" / "control-plane.sock") as (proxy, url):
        for number in range(rounds):
            headers = {
                "authorization": f"Bearer {token}",
                "idempotency-key": f"round {number}",
                "connection": "close",
            }
            proxy.cut = True
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.post(f"{url}/api/v1/keys", json={"name": f"{number}"}, headers=headers)
            proxy.cut = False
            again = httpx.post(f"{url}/api/v1/keys", json={"name": f"{number}"}, headers=headers)
            assert again.status_code == 201, again.text
            assert again.headers["idempotent-replayed"] == "true"
            made.append(again.json()["id"])
            with_key = {"authorization": f"Bearer {again.json()['key']}"}
            assert process.public.get("/api/v1/me", headers=with_key).status_code == 200
            # There is a limit of keys: what was made is taken away again.
            process.public.delete(f"/api/v1/keys/{made[-1]}", headers=headers)
            if number % 200 == 199:
                token = process.public.post("/api/v1/sessions", json=ACCOUNT).json()["access_token"]
        assert proxy.replies_lost == rounds
    database = connect(f"sqlite:///{process.home / 'dormouse.db'}")
    with database.reads() as reading:
        assert sorted(row.id for row in reading.query(ApiKey)) == sorted(made)
    database.engine.dispose()
