"""`dormouse signup`, `login`, `logout`. A password is never an argument: others could read it."""

import sys
from typing import Annotated

import typer

from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, say
from dormouse.errors import APIConnectionError

Email = Annotated[str | None, typer.Option("--email", help="Asked for if not given.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin, one line.")
]


def signup(
    email: Email = None,
    password_stdin: PasswordStdin = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Open an account and sign in."""
    email = email or _asked_email(password_stdin)
    password = _line() if password_stdin else _asked_password(twice=True)
    with open_client(base_url, session=True) as client:
        account = client.register(email, password)
        client.login(email, password, remember=True)
    if json:
        emit(account.to_dict())
    else:
        typer.echo(f"Welcome, {account.email}. You are signed in at {client.base_url}.")
        say("Next: dormouse services, then dormouse entitle SERVICE")


def login(
    email: Email = None,
    password_stdin: PasswordStdin = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Sign in; the session is kept in the credentials file."""
    email = email or _asked_email(password_stdin)
    password = _line() if password_stdin else _asked_password(twice=False)
    with open_client(base_url, session=True) as client:
        client.login(email, password, remember=True)
    if json:
        emit({"email": email, "base_url": client.base_url})
    else:
        typer.echo(f"Signed in as {email} at {client.base_url}.")


def logout(json: Json = False, base_url: BaseUrl = None) -> None:
    """End the session here and at the server."""
    with open_client(base_url, session=True) as client:
        try:
            client.logout()
        except APIConnectionError:
            say("The server was not reached: there, the session ends by itself later.")
    if json:
        emit({"signed_in": False, "base_url": client.base_url})
    else:
        typer.echo(f"Signed out at {client.base_url}.")


def _asked_email(password_stdin: bool) -> str:
    if password_stdin:
        raise typer.BadParameter("--password-stdin needs --email too")
    _needs_terminal("--email and --password-stdin")
    return str(typer.prompt("Email", err=True))


def _asked_password(*, twice: bool) -> str:
    _needs_terminal("--password-stdin")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=twice, err=True))


def _needs_terminal(instead: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"there is no terminal to ask; use {instead}")


def _line() -> str:
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise typer.BadParameter("there was no password on stdin")
    return password
