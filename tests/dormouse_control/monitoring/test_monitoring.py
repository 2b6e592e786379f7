import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dormouse.tokens import read_jwks
from dormouse_control.runtimes.base import PredictorStatus, ServiceStatus
from dormouse_control.wiring import Platform

PREDICTOR = PredictorStatus(
    pid=4711,
    model="small",
    state="ready",
    in_flight=1,
    memory_bytes=1000,
    idle_seconds=0.5,
    port=40000,
    metrics_port=9100,
)
AWAKE = ServiceStatus("chat", "awake", None, ("small",), (PREDICTOR,), 2, 140)


def test_status_shows_services_and_predictors(ada: Any, runtime: Any) -> None:
    runtime.services = [AWAKE]

    services = ada.get("/api/v1/status").json()["services"]

    assert services[0] == {
        "id": "chat",
        "status": "awake",
        "stage": None,
        "models_loaded": ["small"],
        "predictors": [
            {
                "pid": 4711,
                "model": "small",
                "state": "ready",
                "in_flight": 1,
                "memory_bytes": 1000,
                "idle_seconds": 0.5,
                "port": 40000,
                "metrics_port": 9100,
                "slots": 1,
                "waiting": 0,
            }
        ],
        "queue": 2,
        "last_cold_start_ms": 140,
        "eta_ms": None,
        "oldest_wait_ms": None,
        "expected_wait_ms": None,
        "quarantined": [],
    }
    assert (services[1]["id"], services[1]["status"]) == ("draw", "unknown")


def test_status_shows_processes(ada: Any, platform: Platform, clock: Any) -> None:
    started = clock().timestamp() - 12.5
    living = {"name": "nest", "pid": os.getpid(), "started_at": started, "restarts": 3}
    dead = {"name": "gateway", "pid": 2**22 + 1, "started_at": started, "restarts": 0}
    starting = {"name": "authorizer", "pid": None, "started_at": started, "restarts": 0}
    entries = [entry | {"metrics_port": 5003} for entry in (living, dead, starting)]
    platform.settings.processes_file.write_text(json.dumps({"processes": entries}))

    nest, *others = ada.get("/api/v1/status").json()["processes"]

    assert nest.pop("memory_bytes") > 1_000_000
    assert nest == {
        "name": "nest",
        "pid": os.getpid(),
        "state": "running",
        "uptime_seconds": 12.5,
        "restarts": 3,
        "metrics_port": 5003,
    }
    assert [(other["state"], other["pid"], other["memory_bytes"]) for other in others] == [
        ("down", None, 0)
    ] * 2


@pytest.mark.parametrize("content", ["{", "{}", '{"processes": [{}]}', "[]"])
def test_an_unreadable_process_file_leaves_status_readable(
    ada: Any, platform: Platform, content: str
) -> None:
    Path(platform.settings.processes_file).write_text(content)

    assert ada.get("/api/v1/status").json()["processes"] == []


def test_status_needs_credentials(client: TestClient) -> None:
    assert client.get("/api/v1/status").status_code == 401


def test_it_lives_whatever_else_does_not(client: TestClient, runtime: Any) -> None:
    runtime.services = None

    answer = client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_ready_needs_database_and_nest(
    client: TestClient, runtime: Any, lose_database: Callable[[], None]
) -> None:
    assert client.get("/readyz").json() == {"status": "ok"}

    runtime.services = None
    away = client.get("/readyz")
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    assert away.json()["error"]["message"] == "Not ready: no answer from nest."

    lose_database()
    both = client.get("/readyz")
    assert both.json()["error"]["message"] == "Not ready: no answer from database and nest."


def test_public_keys_verify_what_we_sign(client: TestClient, platform: Platform) -> None:
    answer = client.get("/.well-known/jwks.json")

    assert "max-age" in answer.headers["cache-control"]
    assert set(read_jwks(answer.json())) >= {platform.signing.access.kid}
    assert all("d" not in key for key in answer.json()["keys"])
