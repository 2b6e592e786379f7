"""Predictors that are killed while they answer: what is charged, and who is told."""

import contextlib
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dormouse.meters import decode
from dormouse.unfinished import UNSEEN_SECONDS

LONG = {"model": "tiny", "prompt": ["x" * 20] * 128, "max_tokens": 200, "stream": True}


class Killed:
    """A predictor of its own, and one call to it that streams for long."""

    def __init__(self, predictor: Any, keys: Any, name: str, **claims: Any) -> None:
        self.predictor = predictor
        self.ready = predictor.next("ready")
        self.name = name
        self._token = keys.token(**claims)
        self.lines: list[str] = []
        self.error: Exception | None = None
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        url = f"http://127.0.0.1:{self.ready['port']}/v1/completions"
        headers = {"authorization": f"Bearer {self._token}", "x-request-id": self.name}
        try:
            with httpx.stream("POST", url, json=LONG, headers=headers, timeout=20) as answer:
                self.lines.extend(answer.iter_lines())
        except httpx.HTTPError as error:
            self.error = error

    def tokens(self) -> int:
        """That were delivered."""
        return sum(line.startswith("data: {") for line in self.lines)

    def begun(self) -> None:
        """Returns when something has come."""
        deadline = time.monotonic() + 10
        while not self.lines and time.monotonic() < deadline:
            time.sleep(0.002)

    def kill_after(self, seconds: float) -> None:
        self.begun()
        time.sleep(seconds)
        os.kill(self.ready["pid"], signal.SIGKILL)
        self.predictor.witness.close()  # and with it what we were given to hold
        self.wait()

    def wait(self) -> None:
        self._reader.join(10)
        self.predictor.wait_closed()

    def close(self) -> None:
        self.predictor.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.mark.parametrize("seconds", [0.0, 0.4, 1.3])
def test_r18_a_call_whose_predictor_was_killed_is_charged_once(
    nest: Any, chat_config: Any, keys: Any, internal_api: Any, spool: Path, seconds: float
) -> None:
    config = chat_config | {"spool": str(spool)}
    killed = Killed(nest.wake(**config), keys, f"killed-{seconds}", lease="lse_7")
    killed.kill_after(seconds)
    assert killed.error is not None  # nobody here speaks in its place
    began = time.monotonic()
    next_one = nest.wake(**config)
    next_one.next("ready")
    event = internal_api.of(f"killed-{seconds}")
    data = event["data"]
    assert time.monotonic() - began < 10
    assert (data["outcome"], data["estimated"], data["lease"]) == ("failed", True, "lse_7")
    assert data["prompt_tokens"] >= 20
    assert data["compute_ms"] >= UNSEEN_SECONDS * 1000
    if seconds > 1:
        assert data["completion_tokens"] >= killed.tokens() * 0.9
        assert data["completion_tokens"] <= killed.tokens() / seconds * (seconds + 1.2) + 50
    next_one.drain(0)
    next_one.wait_closed()
    assert list(spool.iterdir()) == []
    assert internal_api.of(f"killed-{seconds}")  # still once
    killed.close()
    next_one.close()


def test_the_nest_holds_the_connection_of_a_stream(nest: Any, chat_config: Any, keys: Any) -> None:
    killed = Killed(nest.wake(**chat_config), keys, "held")
    witness = killed.predictor.witness
    witness.settimeout(10)
    message, descriptors, _, _ = socket.recv_fds(witness, 64, 1)
    assert struct.unpack("<cQ", message) == (b"+", 1)
    killed.begun()
    os.kill(killed.ready["pid"], signal.SIGKILL)
    assert witness.recv(64) == b""
    with socket.socket(fileno=descriptors[0]) as connection:
        said = b'data: {"error": {"code": "predictor_died"}}\n\n'
        connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(said), said))
    killed.wait()
    assert killed.error is None
    assert json.loads([line for line in killed.lines if line][-1][6:])["error"]
    killed.close()


class Heard:
    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.1)
        self.latest: Any = None
        self.predictor = b""

    def until(self, condition: Any) -> None:
        deadline = time.monotonic() + 10
        while self.latest is None or not condition(self.latest):
            assert time.monotonic() < deadline, self.latest
            with contextlib.suppress(TimeoutError):
                self.predictor, (self.latest,) = decode(self._socket.recv(65536))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def heard(short_path: Path) -> Iterator[Heard]:
    path = short_path / "meters-p.sock"
    path.unlink(missing_ok=True)
    found = Heard(path)
    yield found
    found.close()


def test_the_authorizer_hears_of_calls_and_of_hanging_up(
    nest: Any, chat_config: Any, keys: Any, internal_api: Any, short_path: Path, heard: Heard
) -> None:
    """A caller who leaves frees its place within a second, whether it reads or only waits."""
    predictor = nest.wake(**chat_config, meters_folder=str(short_path))
    ready = predictor.next("ready")
    token = keys.token(authorizer="unix:meters-p.sock", account=5)
    url = f"http://127.0.0.1:{ready['port']}/v1/completions"
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(headers=headers, timeout=20) as client:
        first = {"headers": {"x-request-id": "meters-1"}, "json": LONG}
        with client.stream("POST", url, **first) as answer:
            lines = answer.iter_lines()
            next(lines)
            heard.until(lambda meters: (meters.began, meters.ended) == (1, 0))
            with contextlib.suppress(httpx.ReadTimeout):
                second = {"x-request-id": "meters-2"}
                client.post(url, json=LONG | {"stream": False}, headers=second, timeout=0.3)
            heard.until(lambda meters: (meters.began, meters.ended) == (2, 1))
        left = time.monotonic()
        heard.until(lambda meters: meters.ended == 2)
        assert time.monotonic() - left < 1
        both = [internal_api.of(name)["data"] for name in ("meters-1", "meters-2")]
        data = both[0]
        assert [each["outcome"] for each in both] == ["cancelled"] * 2
        assert heard.latest.prompt_tokens == sum(each["prompt_tokens"] for each in both)
        assert heard.latest.completion_tokens == sum(each["completion_tokens"] for each in both)
        assert data["predictor"] == heard.predictor.hex()
        assert client.post(url, json={"model": "tiny", "prompt": "x"}).status_code == 200
        heard.until(lambda meters: meters.ended == 3)
    predictor.drain(0)
    predictor.wait_closed()
    predictor.close()


def test_r19_a_predictor_that_hung_ends_what_nobody_waits_for_any_more(
    nest: Any, chat_config: Any, keys: Any, internal_api: Any, short_path: Path, heard: Heard
) -> None:
    """The gateway gives up at the time limit and hangs up; that is seen as soon as it goes on."""
    predictor = nest.wake(**chat_config, meters_folder=str(short_path))
    ready = predictor.next("ready")
    token = keys.token(authorizer="unix:meters-p.sock", account=6)
    headers = {"authorization": f"Bearer {token}", "x-request-id": "hung-1"}
    url = f"http://127.0.0.1:{ready['port']}/v1/completions"
    with httpx.Client(headers=headers, timeout=2) as client:
        with client.stream("POST", url, json=LONG) as answer:
            lines = answer.iter_lines()
            next(lines)
            os.kill(ready["pid"], signal.SIGSTOP)
            with pytest.raises(httpx.ReadTimeout):
                list(lines)
        os.kill(ready["pid"], signal.SIGCONT)
        went_on = time.monotonic()
        heard.until(lambda meters: meters.ended == 1)
        assert time.monotonic() - went_on < 1
        assert internal_api.of("hung-1")["data"]["outcome"] == "cancelled"
        free = client.post(url, json={"model": "tiny", "prompt": "x"})
        assert free.status_code == 200
    predictor.drain(0)
    predictor.wait_closed()
    predictor.close()
