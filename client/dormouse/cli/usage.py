"""`dormouse usage`: calls, what they come to, and all of it as a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import amount, emit, local_time, milliseconds, table
from dormouse.cli.saving import saved

if TYPE_CHECKING:
    from dormouse.resources.usage import Usage, UsageFilters
    from dormouse.types import UsageGroup, UsedCall

_FORMATS = (".csv", ".parquet")


def usage(
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", metavar="GROUP", help="Sums by hour, day, month, key, service, model, tag:NAME."
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DAY", help="From this day (UTC) or time on.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DAY", help="To the end of it.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="ID", help="Of this key.")] = None,
    service: Annotated[str | None, typer.Option("--service", help="Of this service.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Of this model.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="NAME[:VALUE]", help="With this tag.")
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Everybody's calls; for operators.")
    ] = False,
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="With --all: this user's.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Save as FILE, .csv or .parquet."),
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Export every call, not sums by hour.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many calls.")] = 50,
    after: Annotated[
        str | None, typer.Option("--after", metavar="CURSOR", help="`next` of the page before.")
    ] = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Show your calls, newest first, and what they cost; with --by, sums of them."""
    if user is not None and not everybody:
        raise typer.BadParameter("--user goes with --all")
    filters: UsageFilters = {
        "key_id": key,
        "service": service,
        "model": model,
        "tags": tag or (),
        "since": since,
        "until": until,
        "user": user,
    }
    with open_client(base_url, session=everybody) as client:
        asked = client.admin.usage if everybody else client.usage
        if export is not None:
            _export(asked, filters, export, each=each, json=json)
        elif by:
            _totals(asked, filters, by, json=json)
        else:
            _calls(asked, filters, limit=limit, after=after, json=json)


def _calls(
    asked: "Usage", filters: "UsageFilters", *, limit: int, after: str | None, json: bool
) -> None:
    page = asked.list(limit=limit, after=after, **filters)
    if json:
        emit(page.to_dict())
        return
    table(
        ("Time", "Model", "Endpoint", "Outcome", ">In", ">Out", ">Wake", ">Took", ">Cost"),
        (_call_row(call, page.currency) for call in page.items),
    )
    totals = page.totals
    typer.echo(
        f"\nAll {totals.requests} calls: {totals.prompt_tokens} tokens in, "
        f"{totals.completion_tokens} out, {amount(totals.cost, page.currency)}"
    )


def _totals(asked: "Usage", filters: "UsageFilters", by: Sequence[str], *, json: bool) -> None:
    page = asked.totals(*by, **filters)
    found = list(page)
    if json:
        emit({"items": [group.to_dict() for group in found], "currency": page.currency})
        return
    names = [name.removeprefix("tag:").capitalize() for name in dict.fromkeys(by)]
    table(
        (*names, ">Calls", ">In", ">Out", ">Computing", ">Loading", ">Idle", ">Cost"),
        (_group_row(group, page.currency) for group in found),
    )


def _export(asked: "Usage", filters: "UsageFilters", file: Path, *, each: bool, json: bool) -> None:
    if file.suffix not in _FORMATS:
        raise typer.BadParameter(f"{file}: its name must end in {' or '.join(_FORMATS)}")
    with saved(file) as target:
        asked.export(
            target,
            format="parquet" if file.suffix == ".parquet" else "csv",
            granularity="call" if each else "hour",
            **filters,
        )
    if json:
        emit({"file": str(file), "bytes": file.stat().st_size})
    else:
        typer.echo(f"Saved to {file}.")


def _call_row(call: "UsedCall", currency: str) -> Sequence[str]:
    return (
        local_time(call.time),
        call.model,
        call.endpoint,
        call.outcome,
        str(call.prompt_tokens),
        str(call.completion_tokens),
        milliseconds(call.cold_start_ms or None),
        milliseconds(call.duration_ms),
        amount(call.cost, currency),
    )


def _group_row(group: "UsageGroup", currency: str) -> Sequence[str]:
    return (
        *(value or "" for value in group.group.values()),
        str(group.requests),
        str(group.prompt_tokens),
        str(group.completion_tokens),
        milliseconds(group.compute_ms),
        milliseconds(group.load_ms),
        milliseconds(group.idle_ms),
        amount(group.cost, currency),
    )
