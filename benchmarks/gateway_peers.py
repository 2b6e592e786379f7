"""What stands around the gateway in its benchmark: a bare Envoy, a catalogue, users, a nest."""

import asyncio
import secrets
import socket
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from dormouse_control.nest import lines

USERS = 1000
KEYS = 10_000
_TYPE = "type.googleapis.com/envoy.extensions.filters"

_SERVICE = """\
title: Bench
description: Answers at once.
category: text
engine: llama
endpoints: [chat.completions]
access: open
placement: serverless
scale: {idle_seconds: 300, max_replicas: 1, timeout_seconds: 120, queue_length: 200}
resources:
  starter: {cpu: "1", memory: 1Gi}
  standard: {cpu: "1", memory: 1Gi}
prices: {per_1000_prompt_tokens: 0.00002}
default_model: {starter: model-000, standard: model-000}
"""
_MODEL = """\
[model]
title = Model
description = None.
profiles = starter, standard
source = file:/nowhere
size_mb = 1
layers = 1
context = 256
parameters = 1
license = MIT
"""


class Catalogue:
    """One service with 1,000 models, first to last in the order of their names."""

    MODELS = 1000
    FIRST, LAST = "model-000", "model-999"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self) -> None:
        service = self.folder / "bench"
        service.mkdir(parents=True)
        (service / "service.yaml").write_text(_SERVICE)
        for number in range(self.MODELS):
            name = f"model-{number:03}"
            (service / name).mkdir()
            (service / name / f"{name}.ini").write_text(_MODEL)


def populate(database: Path) -> None:
    """As many users and keys as a busy installation has; nobody knows the keys."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    with sqlite3.connect(database) as opened:
        users = [f"usr_{number:026}" for number in range(USERS)]
        opened.executemany(
            "INSERT INTO user (id, email, status, role, tier, created_at)"
            " VALUES (?, ?, 'active', 'user', 'standard', ?)",
            [(user, f"{user}@example.org", now) for user in users],
        )
        opened.executemany(
            "INSERT INTO api_key (id, user_id, name, prefix, sha256, created_at)"
            " VALUES (?, ?, 'x', 'dm_xxxxxx', ?, ?)",
            [
                (f"key_{number:026}", users[number % USERS], secrets.token_hex(32), now)
                for number in range(KEYS)
            ],
        )
    opened.close()


async def serve_nest(path: Path, address: str) -> None:
    """A nest whose services are always awake at `address`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (asked := await lines.read(reader)) is not None:
            if "id" in asked:
                found = {"id": asked["id"], "ok": True, "address": address, "cold_start_ms": None}
                writer.write(lines.encode(found))

    server = await asyncio.start_unix_server(serve, path, limit=lines.MAX_LINE)
    await server.serve_forever()


def bare_envoy(port: int, predictor_port: int) -> dict[str, Any]:
    """Nothing but a route to the predictor."""
    manager = {
        "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "predictor"}}],
                }
            ]
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoint = {"endpoint": {"address": _tcp(predictor_port)}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "bare",
                    "address": _tcp(port),
                    "enable_reuse_port": False,
                    "per_connection_buffer_limit_bytes": 33554432,
                    "filter_chains": [{"filters": filters}],
                }
            ],
            "clusters": [
                {
                    "name": "predictor",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "predictor",
                        "endpoints": [{"lb_endpoints": [endpoint]}],
                    },
                }
            ],
        }
    }


def ask(url: str, path: str) -> int | None:
    """The status; None if nobody answers."""
    try:
        return httpx.get(url + path, timeout=2).status_code
    except httpx.HTTPError:
        return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tcp(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
