"""`dormouse up`: the platform on one machine as one command with one log."""

import asyncio
import contextlib
import fcntl
import io
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TextIO

import httpx
from structlog import get_logger

from dormouse.catalog import read_catalog
from dormouse_control import log as logging
from dormouse_control.gateway import certificates
from dormouse_control.gateway import run as gateway
from dormouse_control.gateway.hosts import certificate_names
from dormouse_control.keys import ensure_keys
from dormouse_control.metrics import serve_metrics
from dormouse_control.settings import Settings
from dormouse_control.supervisor.banner import failed, ready, starting, stopping, unknown
from dormouse_control.supervisor.child import Child
from dormouse_control.supervisor.metrics import SupervisorMetrics
from dormouse_control.supervisor.processes import PROCESSES, process_specs
from dormouse_control.supervisor.readiness import until_ready

log = get_logger(__name__)

STOP_SECONDS = 15.0
LOG_BYTES = 50 * 1024 * 1024
LOG_CHECK_SECONDS = 30.0


class AlreadyRunning(Exception):
    """Another platform runs in this home."""


class CannotListen(Exception):
    """The address or port that we need is not to be had."""


def main(*, logs: bool) -> int:
    """Exit status. With `logs` every log line is shown here and not written to the log file.

    Raises CatalogError, AlreadyRunning, CannotListen, or pydantic's ValidationError for settings.
    """
    settings = Settings()
    os.umask(0o077)  # also of all that we start: no file of ours is anybody else's to read
    _make_folders(settings)
    with _only_one(settings), _log_file(settings, logs) as output:
        logging.configure("supervisor", settings.log_level, _lines(output))
        read_catalog(settings.services)
        gateway.binary()
        ports = _metrics_ports(settings)
        _check_listen(settings.host, settings.port)
        for name, port in ports.items():
            if port == settings.port:
                raise CannotListen(
                    f"port {port} is wanted for the gateway and for the metrics of the {name}; "
                    "set DORMOUSE_METRICS_PORT to another, or to 0 for free ones"
                )
            _check_listen("127.0.0.1", port, change="DORMOUSE_METRICS_PORT (0: any free ports)")
        ensure_keys(settings.keys_folder)
        if settings.tls == "self-signed" and settings.tls_folder is not None:
            names = certificate_names(
                host=settings.host, public_url=settings.public_url, allowed=settings.allowed_hosts
            )
            certificates.keep(settings.tls_folder, names, now=datetime.now(UTC))
        return asyncio.run(_supervise(settings, ports, output))


def _make_folders(settings: Settings) -> None:
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (settings.run_folder, settings.spool_folder, settings.home / "logs"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    with (settings.run_folder / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"a platform already runs in {settings.home}") from None
        yield


@contextlib.contextmanager
def _log_file(settings: Settings, logs: bool) -> Iterator[IO[bytes] | None]:
    """Where every process writes: the log file, or this terminal's standard output."""
    if logs:
        yield None
        return
    path = log_path(settings)
    with path.open("ab", buffering=0) as file:
        os.chmod(path, 0o600)
        yield file


def _lines(output: IO[bytes] | None) -> TextIO | None:
    return None if output is None else io.TextIOWrapper(output, write_through=True)


def log_path(settings: Settings) -> Path:
    return settings.home / "logs" / "dormouse.log"


def _metrics_ports(settings: Settings) -> dict[str, int]:
    if settings.metrics_port:
        return {name: settings.metrics_port + offset for offset, name in enumerate(PROCESSES)}
    with contextlib.ExitStack() as stack:
        found = {}
        for name in PROCESSES:
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found[name] = probe.getsockname()[1]
        return found


def _check_listen(
    host: str, port: int, change: str = "DORMOUSE_HOST, or --port or DORMOUSE_PORT"
) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {host}:{port}: {error.strerror}; change {change}"
            ) from None


class Supervisor:
    def __init__(self, settings: Settings, ports: dict[str, int], output: IO[bytes] | None) -> None:
        self._settings = settings
        self._metrics_port = ports["supervisor"]
        self._started_at = time.time()
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.children = [
            Child(
                spec,
                environment=environment,
                output=output,
                changed=self._publish,
                told=sys.stderr.write,
            )
            for spec in process_specs(settings, ports)
        ]

    def _publish(self) -> None:
        """What `dormouse status` shows."""
        ourselves = {
            "name": "supervisor",
            "pid": os.getpid(),
            "started_at": self._started_at,
            "restarts": 0,
            "metrics_port": self._metrics_port,
        }
        children = [
            {
                "name": child.spec.name,
                "pid": child.pid,
                "started_at": child.started_at,
                "restarts": child.restarts,
                "metrics_port": child.spec.metrics_port,
            }
            for child in self.children
        ]
        document = {"processes": [*children, ourselves]}
        path = self._settings.processes_file
        draft = path.with_suffix(".draft")
        try:
            draft.write_text(json.dumps(document))
            draft.replace(path)
        except OSError as error:
            # A full disk must not end the care for the processes.
            log.error("status_not_written", reason=str(error))

    async def stop(self) -> None:
        with contextlib.suppress(httpx.HTTPError):
            await asyncio.to_thread(gateway.drain, self._settings)
        for child in self.children:
            await child.stop(STOP_SECONDS)


async def _supervise(settings: Settings, ports: dict[str, int], output: IO[bytes] | None) -> int:
    began = time.monotonic()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    supervisor = Supervisor(settings, ports, output)
    SupervisorMetrics(supervisor.children)
    serve_metrics(ports["supervisor"])
    sys.stderr.write(starting(settings, log_path(settings)))
    if names := Settings.unknown_names(os.environ):
        sys.stderr.write(unknown(names))
    trimming = asyncio.create_task(_keep_log_short(log_path(settings)))
    lives = [asyncio.create_task(child.keep_alive()) for child in supervisor.children]
    watch = asyncio.create_task(until_ready(settings))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((watch, stopped), return_when=asyncio.FIRST_COMPLETED)
    if watch.done():
        problem = watch.result()
        seconds = time.monotonic() - began
        sys.stderr.write(
            ready(settings, seconds, _first_administrator(settings))
            if problem is None
            else failed(problem, log_path(settings))
        )
    await stopped
    sys.stderr.write(stopping())
    await supervisor.stop()
    await asyncio.gather(*lives)
    trimming.cancel()
    return 0


def _first_administrator(settings: Settings) -> str | None:
    """The token that the control plane left there, if there is no administrator yet."""
    try:
        return settings.first_administrator_file.read_text().strip()
    except OSError:
        return None


async def _keep_log_short(path: Path) -> None:
    while True:
        await asyncio.sleep(LOG_CHECK_SECONDS)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(trim_log, path, LOG_BYTES)


def trim_log(path: Path, most_bytes: int) -> None:
    """Set a long log aside as `.log.1`. Everybody appends, so emptying it in place is safe."""
    if path.exists() and path.stat().st_size > most_bytes:
        shutil.copyfile(path, path.with_suffix(".log.1"))
        os.chmod(path.with_suffix(".log.1"), 0o600)
        os.truncate(path, 0)
