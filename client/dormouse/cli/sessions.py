"""`dormouse sessions list | end`: where you are signed in."""

from collections.abc import Sequence
from typing import Annotated

import typer

from dormouse.accounts import SignedIn
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, local_time, table

app = typer.Typer(help="Sessions: list, end.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list", epilog="Example: dormouse sessions list")
def list_(json: Json = False, base_url: BaseUrl = None) -> None:
    """List where you are signed in."""
    with open_client(base_url, session=True) as client:
        found = list(client.sessions.list())
    if json:
        emit({"items": [each.to_dict() for each in found]})
        return
    table(
        ("Id", "Opened", "Last used", "Address", "Program", ""),
        (_row(each) for each in found),
    )


@app.command(epilog="Example: dormouse sessions end --others")
def end(
    id: Annotated[
        str | None, typer.Argument(metavar="ID", help="As `dormouse sessions list` shows it.")
    ] = None,
    others: Annotated[bool, typer.Option("--others", help="All but this one.")] = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """End a session, or all others, at once."""
    if (id is None) != others:
        raise typer.BadParameter("give either a session's ID or --others")
    with open_client(base_url, session=True) as client:
        if id is None:
            client.sessions.delete_others()
        else:
            client.sessions.delete(id)
    if json:
        emit({"ended": id or "others"})
    else:
        typer.echo("Ended every other session." if id is None else f"Ended {id}.")


def _row(each: SignedIn) -> Sequence[str]:
    return (
        each.id,
        local_time(each.created_at),
        local_time(each.last_used_at),
        each.address or "",
        each.user_agent or "",
        "this one" if each.current else "",
    )
