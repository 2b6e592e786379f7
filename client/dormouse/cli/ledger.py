"""`dormouse ledger verify`, for operators and administrators."""

from decimal import Decimal

import typer

from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, say

app = typer.Typer(
    help="The account of all that calls cost: prove that it balances.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def ledger() -> None:
    """So that `verify` stays a word of its own."""


@app.command(epilog="Example: dormouse ledger verify")
def verify(json: Json = False, base_url: BaseUrl = None) -> None:
    """Prove that every call is charged once, at its price; exit code 1 if the sums do not agree."""
    with open_client(base_url, session=True) as client:
        found = client.ledger.verify()
    if json:
        emit(found.to_dict())
    else:
        _tell(found.count, found.problems)
        charged, outstanding = (
            f"{Decimal(nano).scaleb(-9):f} {found.currency}"
            for nano in (found.charged, found.outstanding)
        )
        typer.echo(f"{found.calls} calls, {found.entries} entries: {charged} charged.")
        say(f"Set aside for calls that may still come: {outstanding}.")
        if found.rejected:
            say(f"{found.rejected} usage events could not be read; nobody was charged for them.")
    if found.count:
        raise typer.Exit(1)


def _tell(count: int, problems: list[str]) -> None:
    if not count:
        typer.echo("The ledger balances to the unit.")
        return
    typer.echo(f"The ledger does not balance: {count} differences.")
    for problem in problems:
        typer.echo(f"  {problem}")
    if count > len(problems):
        typer.echo(f"  and {count - len(problems)} more")
