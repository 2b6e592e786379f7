"""The real process: sockets, signals, and what a killed one leaves."""

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
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from dormouse_control.control_plane import alone, listen
from fixtures.control_plane_process import *  # noqa: F403  fixtures are found by their names here
from fixtures.control_plane_process import Process

CREDENTIALS = {"email": "ada@example.org", "password": "correct horse battery"}


def test_it_listens_privately_measures_and_stops_at_once(
    start_control_plane: Callable[[], Process],
) -> None:
    process = start_control_plane().wait()
    home = process.home

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in [*home.glob("run/*.sock"), *home.glob("dormouse.db"), home]
    }
    assert modes == {
        "admin.sock": 0o600,
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


def test_the_first_start_leaves_a_token_for_an_administrator(
    start_control_plane: Callable[[], Process],
) -> None:
    process = start_control_plane().wait()
    file = process.home / "first-administrator"
    token = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    answer = process.public.post("/api/v1/administrators", json=CREDENTIALS | {"token": token})

    assert answer.status_code == 201
    assert token.partition(".")[2] not in process.log()
    deadline = time.monotonic() + 20
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)  # it goes after the answer
    process.end()
    again = start_control_plane().wait()
    assert not file.exists()
    again.end()


def test_mail_leaves_while_it_runs(
    start_control_plane: Callable[[], Process],
) -> None:
    process = start_control_plane().wait()
    process.public.post("/api/v1/registrations", json=CREDENTIALS)
    process.public.post("/api/v1/resets", json={"email": CREDENTIALS["email"]})
    kept = process.home / "logs" / "mail.log"
    deadline = time.monotonic() + 20
    found: list[str] = []
    while not found and time.monotonic() < deadline:
        time.sleep(0.05)
        found = re.findall(r"#token=(\S+)\n", kept.read_text() if kept.exists() else "")

    (token,) = found
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    body = {"token": token, "password": "another battery staple"}
    assert process.public.post("/api/v1/resets/confirm", json=body).status_code == 204
    assert token.partition(".")[2] not in process.log()


def test_a_request_in_progress_is_finished(start_control_plane: Callable[[], Process]) -> None:
    process = start_control_plane().wait()
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
    start_control_plane: Callable[[], Process], usage_event: Callable[..., dict[str, Any]]
) -> None:
    process = start_control_plane().wait()
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
        process = start_control_plane().wait()

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
