"""`dormouse requests list | get | cancel | webhook-secret`: calls that nobody waits for."""

from collections.abc import Sequence
from typing import Annotated

import typer

from dormouse.asynchronous import AsyncRequest
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, local_time, say, table

app = typer.Typer(
    help="Calls that nobody waits for: list, get, cancel.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="As `dormouse requests list` shows.")]


@app.command("list", epilog="Example: dormouse requests list")
def list_(json: Json = False, base_url: BaseUrl = None) -> None:
    """List your asynchronous requests, newest first."""
    with open_client(base_url) as client:
        found = list(client.requests.list())
    if json:
        emit({"items": [each.to_dict() for each in found]})
        return
    table(("Id", "Model", "Status", "Made", "Ended", "Attempts"), (_row(each) for each in found))


@app.command(epilog="Example: dormouse requests get req_01jh… --wait")
def get(
    id: Id,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Show one of them, and its result as JSON once it has ended."""
    with open_client(base_url) as client:
        found = client.requests.wait(id) if wait else client.requests.get(id)
    if json:
        emit(found.to_dict())
        return
    table(("Id", "Model", "Status", "Made", "Ended", "Attempts"), [_row(found)])
    if found.refusal is not None:
        say(f"{found.refusal.code}: {found.refusal.message}")
    if found.result is not None:
        emit(found.result.body)


@app.command(epilog="Example: dormouse requests cancel req_01jh…")
def cancel(id: Id, json: Json = False, base_url: BaseUrl = None) -> None:
    """Cancel one; one that has ended is erased."""
    with open_client(base_url) as client:
        client.requests.cancel(id)
    if json:
        emit({"cancelled": id})
    else:
        typer.echo(f"Cancelled {id}.")


@app.command("webhook-secret", epilog="Example: dormouse requests webhook-secret")
def webhook_secret(json: Json = False, base_url: BaseUrl = None) -> None:
    """Make the secret that webhooks are signed with, or a new one. It is shown this once."""
    with open_client(base_url, session=True) as client:
        made = client.requests.make_webhook_secret()
    if json:
        emit(made.to_dict())
        return
    typer.echo(made.secret)
    if made.previous_until is not None:
        say(f"The one before signs too until {local_time(made.previous_until)}.")


def _row(each: AsyncRequest) -> Sequence[str]:
    ended = local_time(each.ended_at)
    made = local_time(each.created_at)
    return (each.id, each.model, each.status, made, ended, str(each.attempts))
