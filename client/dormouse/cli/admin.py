"""`dormouse admin …`; what users, groups and tiers are for is in modules of their own.

Here `create`, for who has the one-time token, or owns the files of the platform.
"""

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dormouse.cli import admin_groups, admin_rights, admin_services, admin_tiers, admin_users
from dormouse.cli.asking import PasswordStdin, asked_email, asked_password
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, say
from dormouse.errors import DormouseError, NotFoundError

if TYPE_CHECKING:
    from dormouse.accounts import Account
    from dormouse.client import Dormouse

app = typer.Typer(
    help="Users, groups, tiers, who may call what, and services by hand.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class NoPlatformHere(DormouseError):
    code = "no_platform_here"


@app.command(epilog="Example: dormouse admin create ada@example.org")
def create(
    email: Annotated[str | None, typer.Argument(help="Asked for if not given.")] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", help="As `dormouse up` shows it while there is none."),
    ] = None,
    password_stdin: PasswordStdin = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Make an administrator: a new account, or an account that is there.

    Without --token only on the machine of the platform, as the user who owns $DORMOUSE_HOME.
    """
    email = email or asked_email(password_stdin)
    if token is not None:
        password = asked_password(password_stdin, twice=True)
        with open_client(base_url) as client:
            account = client.administrators.create(email, password, token=token)
    else:
        with _local_client() as client:
            account = _made_here(client, email, password_stdin)
    if json:
        emit(account.to_dict())
    else:
        typer.echo(f"{account.email} is an administrator.")
        say(f"Sign in: dormouse login --email {account.email}")


app.command(epilog="Example: dormouse admin users ada --status active")(admin_users.users)
app.command(epilog="Example: dormouse admin user ada@example.org")(admin_users.user)
app.command(epilog="Example: dormouse admin approve ada@example.org")(admin_users.approve)
app.command(epilog="Example: dormouse admin disable ada@example.org")(admin_users.disable)
app.command(epilog="Example: dormouse admin enable ada@example.org")(admin_users.enable)
app.command(epilog="Example: dormouse admin role ada@example.org operator")(admin_users.role)
app.command(epilog="Example: dormouse admin tier ada@example.org students")(admin_users.tier)
app.command(epilog="Example: dormouse admin erase ada@example.org")(admin_users.erase)
app.command("end-sessions", epilog="Example: dormouse admin end-sessions ada@example.org")(
    admin_users.end_sessions
)
app.command(
    "remove-second-factor", epilog="Example: dormouse admin remove-second-factor ada@example.org"
)(admin_users.remove_second_factor)
app.command(epilog="Example: dormouse admin unlock ada@example.org")(admin_users.unlock)
app.command("revoke-key", epilog="Example: dormouse admin revoke-key ada@example.org key_01jh…")(
    admin_users.revoke_key
)
app.command(epilog="Example: dormouse admin grant ada@example.org chat")(admin_rights.grant)
app.command("take-away", epilog="Example: dormouse admin take-away ada@example.org chat")(
    admin_rights.take_away
)
app.command(epilog="Example: dormouse admin refuse ada@example.org chat")(admin_rights.refuse)
app.command(epilog="Example: dormouse admin requests")(admin_rights.requests)
app.command(epilog="Example: dormouse admin access --unused-days 90 --csv")(admin_rights.access)
app.command(epilog="Example: dormouse admin service chat")(admin_services.service)
app.command(epilog="Example: dormouse admin wake chat")(admin_services.wake)
app.command(epilog="Example: dormouse admin sleep chat")(admin_services.sleep)
app.add_typer(admin_groups.app, name="groups")
app.add_typer(admin_tiers.app, name="tiers")


def _made_here(client: "Dormouse", email: str, password_stdin: bool) -> "Account":
    if not password_stdin:
        try:
            return client.administrators.create_here(email)
        except NotFoundError:
            say("There is no active account with this address; a new one is made.")
    return client.administrators.create_here(email, asked_password(password_stdin, twice=True))


def _local_client() -> "Dormouse":
    import httpx

    from dormouse.client import Dormouse

    home = Path(os.environ.get("DORMOUSE_HOME") or "~/.dormouse").expanduser()
    path = str(home / "run" / "admin.sock")
    if not _answers(path):
        raise NoPlatformHere(
            f"no platform of yours runs in {home}. Start it, set DORMOUSE_HOME, or use --token"
        )
    http = httpx.Client(transport=httpx.HTTPTransport(uds=path))
    return Dormouse("http://localhost", api_key="none", http_client=http)


def _answers(path: str) -> bool:
    """Tried first, because httpx would say less about why not."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0
