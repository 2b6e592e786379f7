"""`dormouse status`: what is awake, and which processes run; once, or live."""

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import drawn, emit, mebibytes, milliseconds, table
from dormouse.types import Process, ServiceStatus, Status

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dormouse.client import Dormouse

WATCH_SECONDS = 0.5

SERVICES = (
    "Service",
    "Status",
    "Loaded",
    ">Predictors",
    ">Calls",
    ">Memory",
    ">Queue",
    ">Wait",
    ">Woke in",
    ">ETA",
)
PROCESSES = ("Process", ">Pid", "State", ">Up", ">Restarts", ">Memory", ">Metrics port")


def status(
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it live, until Ctrl-C; needs a terminal.")
    ] = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Show what is awake and which processes run."""
    if watch and (json or not sys.stdout.isatty()):
        raise typer.BadParameter("--watch needs a terminal, and goes without --json")
    with open_client(base_url) as client:
        if watch:
            _watch(client)
            return
        found = client.status()
    if json:
        emit(found.to_dict())
        return
    table(SERVICES, (service_row(each) for each in found.services))
    typer.echo()
    table(PROCESSES, (_process_row(each) for each in found.processes))


def service_row(service: ServiceStatus) -> Sequence[str]:
    """One line of SERVICES."""
    memory = [each.memory_bytes for each in service.predictors if each.memory_bytes is not None]
    return (
        service.id,
        _state(service),
        ", ".join(service.models_loaded),
        str(len(service.predictors)),
        str(sum(each.in_flight for each in service.predictors)),
        mebibytes(sum(memory)) if memory else "",
        str(service.queue),
        milliseconds(service.oldest_wait_ms),
        milliseconds(service.last_cold_start_ms),
        milliseconds(service.eta_ms),
    )


def _watch(client: "Dormouse") -> None:
    """Never returns but for Ctrl-C. A server that does not answer for a while is no end."""
    from rich.live import Live

    from dormouse.errors import APIConnectionError, APIStatusError

    found, trouble = client.status(), None
    with contextlib.suppress(KeyboardInterrupt), Live(_screen(found, None)) as live:
        while True:
            time.sleep(WATCH_SECONDS)
            try:
                found, trouble = client.status(), None
            except (APIConnectionError, APIStatusError) as error:
                if isinstance(error, APIStatusError) and error.status_code < 500:
                    raise
                trouble = str(error)
            live.update(_screen(found, trouble))


def _screen(found: Status, trouble: str | None) -> "RenderableType":
    """`trouble`: why it is no longer how it is."""
    from rich.console import Group
    from rich.text import Text

    return Group(
        drawn(SERVICES, (service_row(each) for each in found.services)),
        Text(""),
        drawn(PROCESSES, (_process_row(each) for each in found.processes)),
        *([] if trouble is None else [Text(f"\n{trouble}; this is how it was before.")]),
    )


def _state(service: ServiceStatus) -> str:
    state = f"{service.status} ({service.stage})" if service.stage else service.status
    if not service.quarantined:
        return state
    return f"{state}, quarantined: {', '.join(service.quarantined)}"


def _process_row(process: Process) -> Sequence[str]:
    seconds = process.uptime_seconds
    return (
        process.name,
        "" if process.pid is None else str(process.pid),
        process.state,
        "" if seconds is None else f"{seconds:.0f} s",
        str(process.restarts),
        mebibytes(process.memory_bytes),
        "" if process.metrics_port is None else str(process.metrics_port),
    )
