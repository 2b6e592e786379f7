"""The nest's process: its socket, the clock that puts idle services to sleep, the spool sweeper."""

import asyncio
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import httpx
import uvloop
from structlog import get_logger

from dormouse.catalog import read_catalog
from dormouse.spool import forward_abandoned
from dormouse_control import log as logging
from dormouse_control.metrics import serve_metrics
from dormouse_control.nest import lines
from dormouse_control.nest.metrics import NestMetrics
from dormouse_control.nest.plans import plans
from dormouse_control.nest.server import Connection, Connections
from dormouse_control.nest.service import ServiceRunner
from dormouse_control.nest.zygote import Zygote, ZygoteFailed
from dormouse_control.settings import Settings

log = get_logger(__name__)

IDLE_CHECK_SECONDS = 0.25
SWEEP_SECONDS = 2.0
DRAIN_SECONDS = 10.0
ZYGOTE_CHECK_SECONDS = 0.5


def main() -> None:
    settings = Settings()
    logging.configure("nest", settings.log_level)
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    connections = Connections()
    zygotes: dict[str, Zygote] = {}
    services: dict[str, ServiceRunner] = {}
    for plan in plans(settings, read_catalog(settings.services)):
        zygote = zygotes.setdefault(plan.config["engine"], Zygote(plan.config["engine"]))
        services[plan.service] = ServiceRunner(plan, zygote, connections.tell_leaving)
    NestMetrics(services)
    serve_metrics(settings.process_metrics_port(2))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await _listen(settings, services, connections)
    background = [
        asyncio.create_task(_put_idle_to_sleep(services)),
        asyncio.create_task(_sweep(settings)),
        asyncio.create_task(_keep_zygotes(zygotes.values())),
    ]
    log.info("ready", services=sorted(services))
    await stop.wait()
    await asyncio.gather(*(runner.close(DRAIN_SECONDS) for runner in services.values()))
    server.close()
    for task in background:
        task.cancel()
    for zygote in zygotes.values():
        zygote.close()
    await _sweep_once(settings)


async def _listen(
    settings: Settings, services: Mapping[str, ServiceRunner], connections: Connections
) -> asyncio.AbstractServer:
    path = settings.nest_socket
    path.unlink(missing_ok=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await connections.serve(Connection(services, reader, writer))

    server = await asyncio.start_unix_server(serve, path, limit=lines.MAX_LINE)
    os.chmod(path, 0o600)
    return server


async def _put_idle_to_sleep(services: Mapping[str, ServiceRunner]) -> None:
    while True:
        await asyncio.sleep(IDLE_CHECK_SECONDS)
        for runner in services.values():
            runner.sleep_if_idle()


async def _keep_zygotes(zygotes: Collection[Zygote]) -> None:
    """Imports take seconds: have them done before somebody calls, one zygote after the other."""
    pause = ZYGOTE_CHECK_SECONDS
    while True:
        try:
            for zygote in zygotes:
                await zygote.start()
            pause = ZYGOTE_CHECK_SECONDS
        except (ZygoteFailed, OSError) as error:
            log.error("zygote_failed", reason=str(error))
            pause = min(pause * 2, 60.0)
        await asyncio.sleep(pause)


async def _sweep(settings: Settings) -> None:
    while True:
        await _sweep_once(settings)
        await asyncio.sleep(SWEEP_SECONDS)


async def _sweep_once(settings: Settings) -> None:
    """Usage events of predictors that died are delivered by us."""
    try:
        sent = await asyncio.to_thread(_forward_abandoned, settings)
    except (httpx.HTTPError, OSError) as error:
        log.warning("spool_waits", reason=str(error))
    else:
        if sent:
            log.info("spool_forwarded", events=sent)


def _forward_abandoned(settings: Settings) -> int:
    transport = httpx.HTTPTransport(uds=str(settings.internal_socket))
    with httpx.Client(transport=transport, base_url="http://control-plane") as client:

        def send(events: Sequence[dict[str, Any]]) -> None:
            client.post("/internal/v1/events", json={"events": events}).raise_for_status()

        return forward_abandoned(settings.spool_folder, send)
