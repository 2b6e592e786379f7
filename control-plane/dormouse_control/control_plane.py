"""The control plane's process: its applications on their sockets, until SIGTERM."""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import anyio.to_thread
import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from dormouse_control import housekeeping
from dormouse_control import log as logging
from dormouse_control.app import internal_app, local_app, public_app
from dormouse_control.background import Background
from dormouse_control.catalog import following
from dormouse_control.db import THREADS
from dormouse_control.identity import administrators, revocations
from dormouse_control.mail.delivery import delivery
from dormouse_control.mail.sender import Sender
from dormouse_control.metrics import serve_metrics
from dormouse_control.migrations.run import upgrade
from dormouse_control.private_files import share
from dormouse_control.requests.worker import Worker
from dormouse_control.settings import Settings
from dormouse_control.webhooks import sender as webhooks
from dormouse_control.wiring import Platform, build

log = structlog.get_logger(__name__)

_DRAIN_SECONDS = 10
# Longer than the gateway keeps a connection that it does not use, so that only it closes them.
_KEEP_ALIVE_SECONDS = 2 * 60 * 60
_LOCK_WAIT_SECONDS = 5
_MAIL_SECONDS = 3
_WORK_SECONDS = 3

_M_ARENA_MAX = -8  # <malloc.h>
_ARENAS = 2


def main() -> None:
    _share_memory_between_threads()
    settings = Settings()
    logging.configure("control-plane", settings.log_level)
    os.umask(0o077)  # the database is nobody else's to read
    platform = build(settings)
    with alone(settings.run_folder / "control-plane.lock"):
        upgrade(platform.database.engine)
        housekeeping.begin(platform)
        administrators.announce(platform)
        metrics_port = serve_metrics(settings.process_metrics_port(0))
        log.info("starting", metrics_port=metrics_port)
        with sending(platform), working(platform):
            uvloop.run(_serve(platform))
        platform.database.engine.dispose()
    log.info("stopped")


def _share_memory_between_threads() -> None:
    """glibc gives threads pools of their own, up to eight a core, each of which grows to the most
    that was ever needed in it: with long lists on many threads that never ends (mallopt(3))."""
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


@contextlib.contextmanager
def sending(platform: Platform) -> Iterator[None]:
    """Mail goes out meanwhile."""
    sender = Sender(platform, delivery(platform.settings))
    sender.start()
    try:
        yield
    finally:
        sender.stop(_MAIL_SECONDS)


@contextlib.contextmanager
def working(platform: Platform) -> Iterator[None]:
    """Asynchronous requests are performed meanwhile, and their webhooks go out."""
    works = (Worker(platform).run, webhooks.Sender(platform).run)
    background = Background(works, name="requests")
    background.start()
    try:
        yield
    finally:
        background.stop(_WORK_SECONDS)


class _Server(uvicorn.Server):
    """One of several in a process, which therefore leaves signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(platform: Platform) -> None:
    # As many again for our own processes and for housekeeping, whatever callers are waiting for.
    anyio.to_thread.current_default_thread_limiter().total_tokens = 2 * THREADS
    settings = platform.settings
    apps = [
        (public_app(platform), settings.control_plane_socket),
        (internal_app(platform), settings.internal_socket),
        (local_app(platform), settings.admin_socket),
    ]
    servers = [_server(app) for app, _ in apps]

    def stop() -> None:
        log.info("draining")
        for (app, _), server in zip(apps, servers, strict=True):
            app.state.draining.set()
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    listeners = [listen(path, shared=path == settings.internal_socket) for _, path in apps]
    background = [
        asyncio.create_task(housekeeping.keep(platform)),
        asyncio.create_task(following.follow(platform)),
        asyncio.create_task(platform.bell.watch(lambda: _last_revocation(platform))),
    ]
    await asyncio.gather(
        *(
            server.serve(sockets=[listener])
            for server, listener in zip(servers, listeners, strict=True)
        )
    )
    for task in background:
        task.cancel()


def _last_revocation(platform: Platform) -> int:
    with platform.database.reads() as reading:
        return revocations.last(reading)


def _server(app: FastAPI) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )


def listen(path: Path, *, shared: bool = False) -> socket.socket:
    """A socket at `path` in place of whatever a dead process left there, for this user only, or
    `shared` with predictors."""
    draft = path.with_suffix(".new")  # no longer than the path itself
    draft.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(draft))
    if shared:
        share(draft, writable=True)
    else:
        draft.chmod(0o600)
    listener.listen(2048)
    # Replaced in one step: who connects finds the old one or this one.
    draft.rename(path)
    return listener


@contextlib.contextmanager
def alone(file: Path, wait_seconds: float = _LOCK_WAIT_SECONDS) -> Iterator[None]:
    """One control plane a home: SQLite is safe with one process only. Raises OSError."""
    with file.open("w") as lock:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise OSError(f"{file}: another control plane uses this home") from error
                time.sleep(0.05)
        yield
