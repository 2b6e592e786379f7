"""Fixtures: `gateway` is a real Envoy with our configuration in front of three recording servers.

The servers stand where authorizer, control plane and predictor would; what they see is the test.
"""

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from dormouse_control.gateway import certificates, compiling, run
from dormouse_control.gateway.envoy import envoy_config
from dormouse_control.gateway.facts import Gateway, Native
from dormouse_control.gateway.hosts import served_hosts
from dormouse_control.gateway.scripts import Bodies, script
from dormouse_control.gateway.tls import secret

MAX_BODY = 1024 * 1024
HELD = 4 * MAX_BODY


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Recorder:
    """Answers every request the same way and remembers it; with `raw`, in these very bytes, after
    which it hangs up."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    delay_seconds: float = 0.0
    raw: bytes | None = None
    seen: list[Seen] = field(default_factory=list)
    begun: int = 0

    def handler(self) -> type[BaseHTTPRequestHandler]:
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                recorder.begun += 1
                body = self.body()
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.seen.append(Seen(self.command, self.path, headers, body))
                time.sleep(recorder.delay_seconds)
                if recorder.raw is not None:
                    self.wfile.write(recorder.raw)
                    self.close_connection = True
                    return
                self.send_response_only(recorder.status)
                for name, value in recorder.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(recorder.body)))
                self.end_headers()
                self.wfile.write(recorder.body)

            def body(self) -> bytes:
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                found = b""
                while size := int(self.rfile.readline(), 16):
                    found += self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    """Trailers."""
                return found

            do_GET = do_HEAD = do_POST = do_DELETE = do_PUT = answer

            def log_message(self, *_: Any) -> None: ...

            def address_string(self) -> str:
                return "unix"

        return Handler


class _UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)


@contextlib.contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Running:
    url: str
    metrics_url: str
    authorizer: Recorder
    control_plane: Recorder
    predictor: Recorder
    process: subprocess.Popen[bytes]
    decisions: Path
    calls_socket: Path

    def forget(self) -> None:
        for recorder in (self.authorizer, self.control_plane, self.predictor):
            recorder.seen.clear()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module", params=["native", "lua"])
def gateway(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Running]:
    """With the compiled filter, and as it is where there is no compiler."""
    with _running(tmp_path_factory.mktemp("gw"), compiled=request.param == "native") as found:
        yield found


@pytest.fixture(scope="module")
def plain_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """As `gateway`; what the compiled filter does not let through is asked about."""
    with _running(tmp_path_factory.mktemp("gw"), lua_admits=False) as found:
        yield found


@pytest.fixture(scope="module")
def behind_a_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """As `gateway`, and believes one proxy in front of it."""
    with _running(tmp_path_factory.mktemp("gw"), trusted_hops=1) as found:
        yield found


@pytest.fixture(scope="module")
def tls_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a certificate of our own for this machine."""
    folder = tmp_path_factory.mktemp("tls")
    certificates.keep(folder, ["localhost", "127.0.0.1"], now=datetime.now(UTC))
    return folder


@pytest.fixture(scope="module")
def with_tls(tmp_path_factory: pytest.TempPathFactory, tls_folder: Path) -> Iterator[Running]:
    """As `gateway`, behind TLS."""
    with _running(tmp_path_factory.mktemp("gw"), tls_folder=tls_folder) as found:
        yield found


@contextlib.contextmanager
def _running(
    folder: Path,
    *,
    trusted_hops: int = 0,
    tls_folder: Path | None = None,
    compiled: bool = True,
    lua_admits: bool = True,
) -> Iterator[Running]:
    authorizer, control_plane, predictor = Recorder(), Recorder(), Recorder()
    with contextlib.ExitStack() as stack:
        upstream = ThreadingHTTPServer(("127.0.0.1", 0), predictor.handler())
        stack.enter_context(_serving(upstream))
        for name, recorder in (("a", authorizer), ("c", control_plane)):
            server = _UnixServer(str(folder / name), recorder.handler())  # type: ignore[arg-type]
            stack.enter_context(_serving(server))
        authorizer.headers = {
            "authorization": "Bearer internal",
            "x-envoy-original-dst-host": f"127.0.0.1:{upstream.server_port}",
        }
        facts = Gateway(
            host="127.0.0.1",
            port=_free_port(),
            metrics_port=_free_port(),
            admin_socket=folder / "admin",
            authorizer_socket=folder / "a",
            control_plane_socket=folder / "c",
            calls_socket=folder / "calls",
            max_body_bytes=MAX_BODY,
            hold_seconds=10,
            timeout_seconds=10,
            drain_seconds=1,
            hosts=served_hosts(
                host="127.0.0.1",
                public_url="https://Models.example.org/dormouse",
                allowed=["other.example.org", "*.inside.example.org"],
            ),
            trusted_hops=trusted_hops,
            tls_secret=folder / "tls.json" if tls_folder else None,
            hsts=tls_folder is not None,
            native=_native(folder) if compiled else None,
        )
        if tls_folder is not None:
            (folder / "tls.json").write_text(secret(tls_folder))
        decisions = folder / "decisions"
        process = _start(folder, facts, decisions if lua_admits else None)
        url = f"{'https' if tls_folder else 'http'}://127.0.0.1:{facts.port}"
        yield Running(
            url,
            f"http://127.0.0.1:{facts.metrics_port}/metrics",
            authorizer,
            control_plane,
            predictor,
            process,
            decisions,
            facts.calls_socket,
        )
        process.terminate()
        process.wait(10)
        # Envoy goes on when a script breaks, and the call is not looked at.
        assert "script log" not in (folder / "log").read_text()


def _native(folder: Path) -> Native:
    return Native(compiling.module(folder, envoy=run.binary()), folder / "decisions")


def _start(folder: Path, facts: Gateway, decisions: Path | None) -> subprocess.Popen[bytes]:
    lua = script(decisions=decisions, bodies=Bodies(MAX_BODY, HELD))
    config = folder / "envoy.json"
    config.write_text(json.dumps(envoy_config(facts, lua=lua)))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([run.binary(), *run._arguments(config)], stdout=log, stderr=log)
    for _ in range(200):
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{facts.port}/healthz")
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError((folder / "log").read_text())


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> None:
    for name in ("gateway", "plain_only"):
        if name in request.fixturenames:
            request.getfixturevalue(name).forget()
