"""`dormouse invitations create | list | revoke`, for administrators."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from dormouse.accounts import Invitation
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, local_time, say, table

app = typer.Typer(
    help="Invitations to register: make, list, revoke.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(epilog="Example: dormouse invitations create --email ada@example.org --mail")
def create(
    email: Annotated[
        str | None, typer.Option("--email", help="Only this address may use it.")
    ] = None,
    mail: Annotated[bool, typer.Option("--mail", help="Send it there instead of showing.")] = False,
    tier: Annotated[str | None, typer.Option("--tier", help="Tier of the account.")] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", metavar="ID", help="Group to join; repeatable.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=90, help="How long it is good.")] = 7,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Invite somebody. The token is shown this once."""
    until = datetime.now(UTC) + timedelta(days=days) - timedelta(minutes=5)
    with open_client(base_url, session=True) as client:
        made = client.invitations.create(
            email=email, mail=mail, tier=tier, groups=group, expires_at=until.isoformat()
        )
    if json:
        emit(made.to_dict())
    elif made.token is None:
        typer.echo(f"The invitation is on its way to {made.email}.")
    else:
        typer.echo(made.token)
        say("Whoever has it may register once: dormouse signup --invitation TOKEN")


@app.command("list", epilog="Example: dormouse invitations list")
def list_(json: Json = False, base_url: BaseUrl = None) -> None:
    """List the invitations that were not revoked."""
    with open_client(base_url, session=True) as client:
        found = list(client.invitations.list())
    if json:
        emit({"items": [each.to_dict() for each in found]})
        return
    table(("Id", "For", "Tier", "Made", "Ends", "Used"), (_row(each) for each in found))


@app.command(epilog="Example: dormouse invitations revoke inv_01jh…")
def revoke(
    id: Annotated[str, typer.Argument(metavar="ID", help="As `dormouse invitations list` shows.")],
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Take an invitation back before it is used."""
    with open_client(base_url, session=True) as client:
        client.invitations.delete(id)
    if json:
        emit({"revoked": id})
    else:
        typer.echo(f"Revoked {id}.")


def _row(each: Invitation) -> Sequence[str]:
    ends, used = local_time(each.expires_at), local_time(each.used_at) or "no"
    return (each.id, each.email or "anybody", each.tier, local_time(each.created_at), ends, used)
