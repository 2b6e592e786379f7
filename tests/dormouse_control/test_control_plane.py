"""The real process: sockets, signals, and what a killed one leaves."""

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from dormouse_control.control_plane import alone, listen

CREDENTIALS = {"email": "ada@example.org", "password": "correct horse battery"}


class Process:
    """A control plane on `home`; `public` and `internal` are clients of its sockets."""

    def __init__(self, home: Path, services: Path) -> None:
        self.home = home
        self._log = (home.parent / "log").open("a")
        environment = os.environ | {
            "DORMOUSE_HOME": str(home),
            "DORMOUSE_SERVICES": str(services),
            "DORMOUSE_PROCESS_METRICS_PORT": "0",
        }
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "dormouse_control", "control-plane"],
            env=environment,
            stdout=self._log,
            stderr=self._log,
        )
        self.public = self._client("control-plane.sock")
        self.internal = self._client("internal.sock")

    def _client(self, name: str) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.home / "run" / name))
        return httpx.Client(transport=transport, base_url="http://control-plane", timeout=30)

    def wait(self) -> "Process":
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            # Not with httpx, which leaks the socket of a connection that was refused.
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(self.home / "run" / "control-plane.sock")) == 0:
                    assert self.public.get("/healthz").status_code == 200
                    return self
            assert self.popen.poll() is None, self.log()
            time.sleep(0.02)
        raise AssertionError(self.log())

    def log(self) -> str:
        return (self.home.parent / "log").read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines()]

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self.public.close()
        self.internal.close()
        self._log.close()


@pytest.fixture
def start(tmp_path: Path, services_folder: Path) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def one() -> Process:
        started.append(Process(tmp_path / "home", services_folder))
        return started[-1]

    yield one
    for process in started:
        process.end()


def test_it_listens_privately_measures_and_stops_at_once(start: Callable[[], Process]) -> None:
    process = start().wait()
    home = process.home

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in [*home.glob("run/*.sock"), *home.glob("dormouse.db"), home]
    }
    assert modes == {
        "control-plane.sock": 0o600,
        "internal.sock": 0o600,
        "dormouse.db": 0o600,
        "home": 0o700,
    }
    (port,) = [line["metrics_port"] for line in process.lines() if "metrics_port" in line]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b'dormouse_http_requests_total{api="public"' in answer.read()

    heard: list[Any] = []
    reader = threading.Thread(
        target=lambda: heard.append(
            process.internal.get("/internal/v1/revocations?after=0&wait=25").status_code
        )
    )
    reader.start()
    time.sleep(0.3)
    stopping = time.monotonic()
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(timeout=5) == 0
    reader.join()

    assert time.monotonic() - stopping < 3
    assert heard == [200]
    assert {line["process"] for line in process.lines()} == {"control-plane"}
    assert process.lines()[-1]["event"] == "stopped"


def test_a_request_in_progress_is_finished(start: Callable[[], Process]) -> None:
    process = start().wait()
    answers: list[int] = []

    def register(number: int) -> None:
        body = CREDENTIALS | {"email": f"user{number}@example.org"}
        answers.append(process.public.post("/api/v1/registrations", json=body).status_code)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(6)]
    with closing(sqlite3.connect(process.home / "dormouse.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for thread in threads:
            thread.start()
        time.sleep(1)
        process.popen.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert answers == []
        other.execute("ROLLBACK")
    for thread in threads:
        thread.join()

    assert answers == [201] * 6
    assert process.popen.wait(timeout=10) == 0


def test_no_acknowledged_event_is_lost_when_it_is_killed(
    start: Callable[[], Process], usage_event: Callable[..., dict[str, Any]]
) -> None:
    process = start().wait()
    user = process.public.post("/api/v1/registrations", json=CREDENTIALS).json()["id"]
    acknowledged: list[str] = []
    for round in range(3):
        killer = threading.Timer(0.2 + 0.13 * round, process.popen.kill)
        killer.start()
        for number in range(100_000):
            id = f"req-{round}-{number}"
            try:
                process.internal.post(
                    "/internal/v1/events", json={"events": [usage_event(user, id)]}
                ).raise_for_status()
            except httpx.TransportError:
                break
            acknowledged.append(id)
        killer.join()
        process.popen.wait()
        process = start().wait()

    assert len(acknowledged) > 10
    for first in range(0, len(acknowledged), 500):
        batch = [usage_event(user, id) for id in acknowledged[first : first + 500]]
        answer = process.internal.post("/internal/v1/events", json={"events": batch}).json()
        assert answer == {"accepted": 0, "duplicates": len(batch), "rejected": []}


def test_bad_settings_end_it_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "dormouse.yaml").write_text("currency: money\n")
    ended = subprocess.run(
        [sys.executable, "-m", "dormouse_control", "control-plane"],
        env=os.environ | {"DORMOUSE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert ended.returncode != 0
    assert re.search(r"currency", ended.stdout + ended.stderr)


def test_a_home_is_used_by_one_control_plane(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with (
        alone(file),
        pytest.raises(OSError, match="another control plane"),
        alone(file, wait_seconds=0.1),
    ):
        pass
    with alone(file):
        pass


def test_a_dead_processes_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listen(path).close()
    assert path.exists()

    with listen(path), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))

    assert sorted(found.name for found in tmp_path.iterdir()) == ["x.sock"]
