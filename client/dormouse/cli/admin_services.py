"""`dormouse admin service`, `wake`, `sleep`: services by hand, for operators."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from dormouse.cli.admin_rights import ServiceName
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, mebibytes, table
from dormouse.cli.status import SERVICES, service_row

if TYPE_CHECKING:
    from dormouse.types import Predictor


def service(service: ServiceName, json: Json = False, base_url: BaseUrl = None) -> None:
    """Show how a service is: its predictors, its queue, and when it will be awake."""
    with open_client(base_url, session=True) as client:
        found = client.admin.services.status(service)
    if json:
        emit(found.to_dict())
        return
    table(SERVICES, [service_row(found)])
    if found.predictors:
        typer.echo()
        table(
            (">Pid", "Model", "State", ">Calls", ">Waiting", ">At once", ">Idle", ">Memory"),
            (_row(each) for each in found.predictors),
        )


def wake(service: ServiceName, json: Json = False, base_url: BaseUrl = None) -> None:
    """Wake a service without a call, and end quarantines of its models."""
    with open_client(base_url, session=True) as client:
        found = client.admin.services.wake(service)
    if json:
        emit(found.to_dict())
    else:
        typer.echo(f"{service} is {found.status}.")


def sleep(service: ServiceName, json: Json = False, base_url: BaseUrl = None) -> None:
    """Let a service sleep until the next call; calls that run are answered first."""
    with open_client(base_url, session=True) as client:
        found = client.admin.services.sleep(service)
    if json:
        emit(found.to_dict())
    else:
        typer.echo(f"{service} goes to sleep.")


def _row(predictor: "Predictor") -> Sequence[str]:
    return (
        "" if predictor.pid is None else str(predictor.pid),
        predictor.model or "",
        predictor.state,
        str(predictor.in_flight),
        str(predictor.waiting),
        str(predictor.slots),
        "" if predictor.idle_seconds is None else f"{predictor.idle_seconds:.0f} s",
        mebibytes(predictor.memory_bytes),
    )
