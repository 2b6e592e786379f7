"""`dormouse admin tiers …`: kinds of users and their limits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, table

if TYPE_CHECKING:
    from dormouse.administration import Tier

app = typer.Typer(help="Kinds of users.", no_args_is_help=True, rich_markup_mode=None)

TierId = Annotated[str, typer.Argument(metavar="TIER", help="Lower case letters, digits, -.")]


@app.command("list", epilog="Example: dormouse admin tiers list")
def list_(json: Json = False, base_url: BaseUrl = None) -> None:
    """List the tiers and their limits."""
    with open_client(base_url, session=True) as client:
        found = list(client.admin.tiers.list())
    if json:
        emit({"items": [each.to_dict() for each in found]})
        return
    table(
        (
            "Tier",
            "Title",
            ">Priority",
            ">Requests/min",
            ">Tokens/min",
            ">At once",
            ">Waiting",
            ">Body",
            ">Keys",
            ">Budget/month",
        ),
        (_row(each) for each in found),
    )


@app.command(epilog="Example: dormouse admin tiers put students --title Students --priority 2")
def put(
    tier: TierId,
    title: Annotated[str, typer.Option("--title", help="Its name for people.")],
    priority: Annotated[
        int, typer.Option("--priority", min=0, max=2, help="Highest; 0 is served first.")
    ] = 0,
    requests: Annotated[
        int | None, typer.Option("--requests", min=1, help="Requests a minute.")
    ] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", min=1, help="Tokens a minute.")] = None,
    concurrent: Annotated[
        int | None, typer.Option("--concurrent", min=1, help="Calls at the same time.")
    ] = None,
    queued: Annotated[
        int | None, typer.Option("--queued", min=1, help="Calls that may wait for a service.")
    ] = None,
    max_body: Annotated[
        int | None, typer.Option("--max-body", min=1, help="Longest body of a call, in MiB.")
    ] = None,
    keys: Annotated[int, typer.Option("--keys", min=0, help="Most keys of a user.")] = 100,
    budget: Annotated[float | None, typer.Option("--budget", help="Of a user, a month.")] = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Make a tier, or change all of it."""
    with open_client(base_url, session=True) as client:
        made = client.admin.tiers.put(
            tier,
            title,
            highest_priority=priority,
            requests_per_minute=requests,
            tokens_per_minute=tokens,
            concurrent_calls=concurrent,
            queued_calls=queued,
            max_body_mb=max_body,
            most_keys=keys,
            monthly_budget=budget,
        )
    if json:
        emit(made.to_dict())
    else:
        typer.echo(f"{made.id} is set.")


@app.command(epilog="Example: dormouse admin tiers delete students")
def delete(tier: TierId, json: Json = False, base_url: BaseUrl = None) -> None:
    """Delete a tier that nobody has."""
    with open_client(base_url, session=True) as client:
        client.admin.tiers.delete(tier)
    if json:
        emit({"deleted": tier})
    else:
        typer.echo(f"Deleted {tier}.")


def _row(tier: "Tier") -> Sequence[str]:
    return (
        tier.id,
        tier.title,
        str(tier.highest_priority),
        _or_default(tier.requests_per_minute),
        _or_default(tier.tokens_per_minute),
        _or_default(tier.concurrent_calls),
        _or_default(tier.queued_calls),
        _or_default(tier.max_body_mb, " MiB"),
        str(tier.most_keys),
        "none" if tier.monthly_budget is None else f"{tier.monthly_budget:g}",
    )


def _or_default(limit: int | None, unit: str = "") -> str:
    return "default" if limit is None else f"{limit}{unit}"
