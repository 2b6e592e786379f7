"""`dormouse services`, `entitle`: what there is, and what you may."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import (
    amount,
    emit,
    table,
)
from dormouse.types import Service


def services(json: Json = False, base_url: BaseUrl = None) -> None:
    """List the services: asleep or awake, yours or not, models and prices."""
    with open_client(base_url) as client:
        found = list(client.services.list())
    if json:
        emit({"items": [service.to_dict() for service in found]})
        return
    table(
        ("Service", "Status", "Entitled", "Models", "Per 1000 tokens in / out"),
        (_service_row(service) for service in found),
    )


def entitle(
    service: Annotated[str, typer.Argument(help="As `dormouse services` shows it.")],
    reason: Annotated[
        str | None, typer.Option("--reason", help="For whoever has to agree.")
    ] = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Ask for the right to call a service."""
    with open_client(base_url) as client:
        entitlement = client.entitlements.create(service, reason=reason)
    if json:
        emit(entitlement.to_dict())
    elif entitlement.status == "active":
        typer.echo(f"You may call {entitlement.service} now.")
    else:
        typer.echo(f"Asked for {entitlement.service}; somebody has to agree first.")


def _service_row(service: Service) -> Sequence[str]:
    return (
        service.id,
        f"{service.status} ({service.stage})" if service.stage else service.status,
        "yes" if service.entitled else "no",
        ", ".join(_model_names(service)),
        _prices(service),
    )


def _model_names(service: Service) -> Iterator[str]:
    for model in service.models:
        if model.offered:
            yield f"{model.id} (loaded)" if model.loaded else model.id


def _prices(service: Service) -> str:
    prices = service.prices
    if prices is None:
        return ""
    incoming = amount(prices.per_1000_prompt_tokens, "").strip()
    return f"{incoming} / {amount(prices.per_1000_completion_tokens, prices.currency)}"
