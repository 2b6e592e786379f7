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
        ("Tier", "Title", ">Priority", ">Requests/min", ">Keys", ">Budget/month"),
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
    rate, budget = tier.requests_per_minute, tier.monthly_budget
    return (
        tier.id,
        tier.title,
        str(tier.highest_priority),
        "default" if rate is None else str(rate),
        str(tier.most_keys),
        "none" if budget is None else f"{budget:g}",
    )
