"""`dormouse up`: prepares the platform on one machine, to run as one command with one log."""

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NoReturn

from dormouse.catalog import read_catalog
from dormouse_control import predictor_users
from dormouse_control.gateway import certificates
from dormouse_control.gateway import run as gateway
from dormouse_control.gateway.hosts import certificate_names
from dormouse_control.gateway.tls import CERTIFICATE
from dormouse_control.keys import ensure_keys
from dormouse_control.predictor_users import NotArranged
from dormouse_control.settings import Settings
from dormouse_control.supervisor.banner import starting, unknown
from dormouse_control.supervisor.facts import Facts
from dormouse_control.supervisor.processes import PROCESSES, process_specs


class AlreadyRunning(Exception):
    """Another platform runs in this home."""


class CannotListen(Exception):
    """The address or port that we need is not to be had."""


def main(*, logs: bool) -> NoReturn:
    """Prepares everything and becomes the keeper of the processes, under the same process id.

    With `logs` every log line is shown here and not written to the log file. Raises CatalogError,
    AlreadyRunning, CannotListen, NotArranged, or pydantic's ValidationError for settings.
    """
    settings = Settings()
    os.umask(0o077)  # also of all that we start: no file of ours is anybody else's to read
    _make_folders(settings)
    with _only_one(settings), _log_file(settings, logs) as output:
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
        sys.stderr.write(starting(settings.home, log_path(settings)))
        if names := Settings.unknown_names(os.environ):
            sys.stderr.write(unknown(names))
        sys.stderr.flush()
        known = facts(settings, ports, None if output is None else output.fileno())
        keeper = ["-P", "-m", "dormouse_control.supervisor", known.to_json()]
        os.execv(sys.executable, [sys.executable, *keeper])  # noqa: S606  no shell


def _make_folders(settings: Settings) -> None:
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (settings.run_folder, settings.spool_folder, settings.home / "logs"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
    _open_to_predictors(settings)


def _open_to_predictors(settings: Settings) -> None:
    """Before any process runs that makes something for them."""
    group = predictor_users.group(settings)
    if group is None and settings.predictor_user not in ("auto", "platform"):
        raise NotArranged("only root can give predictors a user, as predictor_user wants it")
    if group is None:
        return
    try:
        predictor_users.arrange(settings, group)
    except NotArranged as error:
        if settings.predictor_user != "auto":
            raise
        sys.stderr.write(f"predictors run as root, because of {error}\n")


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    with (settings.run_folder / "supervisor.lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)  # held for as long as the keeper lives
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
        os.set_inheritable(file.fileno(), True)
        yield file


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


def facts(settings: Settings, ports: dict[str, int], log_handle: int | None) -> Facts:
    """What is known of the platform before it starts."""
    return Facts(
        processes=tuple(process_specs(settings, ports)),
        metrics_port=ports["supervisor"],
        log=str(log_path(settings)),
        log_handle=log_handle,
        log_level=settings.log_level,
        processes_file=str(settings.processes_file),
        first_administrator_file=str(settings.first_administrator_file),
        gateway_admin=str(gateway.admin_socket(settings)),
        host=settings.host,
        port=settings.port,
        tls=settings.tls != "off",
        public_url=settings.public_url,
        certificate=f"{settings.tls_folder}/{CERTIFICATE}"
        if settings.tls == "self-signed"
        else None,
    )
