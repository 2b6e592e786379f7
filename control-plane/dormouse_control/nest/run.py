"""The nest's process: its socket, the clock that puts idle services to sleep, the spool sweeper."""

import asyncio
import json
import os
import signal
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import uvloop
from structlog import get_logger

from dormouse.spool import forward_abandoned
from dormouse_control import log as logging
from dormouse_control.metrics import serve_metrics
from dormouse_control.nest import lines
from dormouse_control.nest.cgroups import open_groups
from dormouse_control.nest.cold_starts import ColdStarts
from dormouse_control.nest.confinement import Confining
from dormouse_control.nest.facts import Facts
from dormouse_control.nest.inventory import Inventory
from dormouse_control.nest.memory import MemoryHandler
from dormouse_control.nest.metrics import NestMetrics
from dormouse_control.nest.occupants import Occupant
from dormouse_control.nest.periods import Period, Periods
from dormouse_control.nest.plan import Plan
from dormouse_control.nest.read_ahead import ReadAhead
from dormouse_control.nest.server import Connection, Connections
from dormouse_control.nest.service import ServiceRunner
from dormouse_control.nest.services import Models, Services
from dormouse_control.nest.shared import Shared
from dormouse_control.nest.sizes import Sizes
from dormouse_control.nest.starts import Starts
from dormouse_control.nest.weights import on_this_machine
from dormouse_control.nest.zygotes import Zygotes

log = get_logger(__name__)

TICK_SECONDS = 0.25
HUNG_SECONDS = 15.0
"""A predictor says every second that it lives, whatever its engine does."""
SWEEP_SECONDS = 2.0
DRAIN_SECONDS = 10.0
_JSON = {"content-type": "application/json"}


def main(path: Path) -> None:
    """`path` has the facts, which whoever writes them anew may tell us to read again."""
    facts = Facts.from_json(path.read_text())
    logging.configure("nest", facts.log_level)
    uvloop.run(_serve(facts, path))


async def _serve(facts: Facts, path: Path) -> None:
    connections = Connections()
    periods = Periods(Path(facts.spool) / "periods")
    groups = open_groups(facts.confinement.cgroup, supervisor=os.getppid())
    confining = Confining(facts.confinement, groups, os.environ)
    zygotes = Zygotes(confining, facts.zygotes)
    reading, models = ReadAhead(), Models()

    def make(plan: Plan) -> ServiceRunner:
        return ServiceRunner(plan, zygotes.of(plan.config["engine"]), shared)

    def adopt() -> None:
        found = Facts.from_json(path.read_text())
        confining.known = replace(confining.known, needs=found.confinement.needs)
        services.adopt(found.plans, found.models)

    services = Services(make, models)
    shared = _shared(facts, services, models, periods, reading, confining, connections.tell_leaving)
    services.adopt(facts.plans, facts.models)
    NestMetrics(services, shared.memory)
    serve_metrics(facts.metrics_port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await _listen(facts, services, connections, adopt)
    background = [
        asyncio.create_task(_look_after(services, periods)),
        asyncio.create_task(_sweep(facts, periods)),
        asyncio.create_task(zygotes.keep()),
    ]
    for task in background:
        # Without them nothing sleeps and nothing is reported: better to be started again.
        task.add_done_callback(lambda ended: _end(stop, ended))
    log.info("ready", services=sorted(services))
    await stop.wait()
    await services.close(DRAIN_SECONDS)
    server.close()
    for task in background:
        task.cancel()
    zygotes.close()
    reading.close()
    await _sweep_once(facts, periods)


def _shared(
    facts: Facts,
    services: Services,
    models: Models,
    periods: Periods,
    reading: ReadAhead,
    confining: Confining,
    leaving: Callable[[str], None],
) -> Shared:
    def read_ahead(service: str, model: str) -> None:
        found = models.get((service, model))
        if found is not None:
            reading.start(on_this_machine(found, Path(facts.weights)))

    def evict(occupant: Occupant) -> None:
        if occupant.service in services:
            services[occupant.service].evict(occupant.instance)

    memory = MemoryHandler(
        models,
        Inventory(),
        Sizes(Path(facts.sizes)),
        evict=evict,
        kept=lambda each: (
            each.service in services and services[each.service].keeps_awake(each.instance)
        ),
        limit=confining.memory_limit,
    )
    starts = Starts(len(os.sched_getaffinity(0)))
    cold_starts = ColdStarts(Path(facts.cold_starts))
    return Shared(periods, cold_starts, memory, models, starts, read_ahead, leaving)


def _end(stop: asyncio.Event, ended: "asyncio.Task[None]") -> None:
    if not ended.cancelled():
        log.error("background_ended", exc_info=ended.exception())
        stop.set()


async def _listen(
    facts: Facts, services: Services, connections: Connections, adopt: Callable[[], None]
) -> asyncio.AbstractServer:
    path = Path(facts.socket)
    path.unlink(missing_ok=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await connections.serve(Connection(services, adopt, reader, writer))

    server = await asyncio.start_unix_server(serve, path, limit=lines.MAX_LINE)
    os.chmod(path, 0o600)
    return server


async def _look_after(services: Services, periods: Periods) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        periods.seen()
        for runner in services.values():
            runner.tick()
            runner.kill_hung(checks=round(HUNG_SECONDS / TICK_SECONDS))


async def _sweep(facts: Facts, periods: Periods) -> None:
    while True:
        periods.adopt()
        await _sweep_once(facts, periods)
        await asyncio.sleep(SWEEP_SECONDS)


async def _sweep_once(facts: Facts, periods: Periods) -> None:
    """Usage events of predictors that died are delivered by us, and how long each was there."""
    try:
        sent = await asyncio.to_thread(_forward, facts, periods)
    except (httpx.HTTPError, OSError) as error:
        log.warning("spool_waits", reason=str(error))
    else:
        if sent:
            log.info("spool_forwarded", events=sent)


def _forward(facts: Facts, periods: Periods) -> int:
    # No certificates are needed on a Unix socket; loading them takes more than all else here.
    no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    transport = httpx.HTTPTransport(uds=facts.internal_socket, verify=no_certificates)
    with httpx.Client(
        transport=transport, base_url="http://control-plane", trust_env=False
    ) as client:

        def send(events: Sequence[dict[str, Any]]) -> None:
            # As ASCII: a half of a surrogate pair, which a caller may have written, has no UTF-8.
            body = json.dumps({"events": events})
            client.post("/internal/v1/events", content=body, headers=_JSON).raise_for_status()

        def tell(found: Sequence[dict[str, Any]]) -> None:
            client.post("/internal/v1/periods", json={"periods": found}).raise_for_status()

        def settled(period: Period) -> bool:
            # Another predictor may be delivering what this one left.
            left = (Path(facts.spool) / period.service).glob(f"{period.pid}-*")
            return next(left, None) is None

        sent = forward_abandoned(Path(facts.spool), send)
        periods.report(tell, ready=settled)
    return sent
