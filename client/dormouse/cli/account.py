"""`dormouse signup`, `login`, `logout`, and what is done with the tokens in our mail."""

from typing import Annotated

import typer

from dormouse.cli import browse
from dormouse.cli.asking import PasswordStdin, asked_code, asked_email, asked_password
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, say
from dormouse.errors import APIConnectionError, AuthenticationError

Email = Annotated[str | None, typer.Option("--email", help="Asked for if not given.")]

_WAITING = {
    "unverified": "Nearly done: open the link in the mail that was sent to {email}.",
    "pending": "The account of {email} is made; an administrator has to approve it.",
}
_VERIFIED = {
    "active": "Next: dormouse login",
    "pending": "An administrator has to approve the account; then: dormouse login",
}


def signup(
    email: Email = None,
    password_stdin: PasswordStdin = False,
    invitation: Annotated[
        str | None, typer.Option("--invitation", metavar="TOKEN", help="If you were invited.")
    ] = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Open an account and sign in."""
    email = email or asked_email(password_stdin)
    password = asked_password(password_stdin, twice=True)
    with open_client(base_url, session=True) as client:
        account = client.register(email, password, invitation=invitation)
        if account.status == "active":
            client.login(email, password, remember=True)
    if json:
        emit(account.to_dict())
    elif account.status in _WAITING:
        typer.echo(_WAITING[account.status].format(email=account.email))
        say("Then: dormouse login")
    else:
        typer.echo(f"Welcome, {account.email}. You are signed in at {client.base_url}.")
        say("Next: dormouse services, then dormouse entitle SERVICE")


def login(
    email: Email = None,
    password_stdin: PasswordStdin = False,
    provider: Annotated[
        str | None,
        typer.Option("--provider", metavar="NAME", help="Sign in with a browser there."),
    ] = None,
    code: Annotated[
        str | None, typer.Option("--code", help="Of your second factor, if you have one.")
    ] = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Sign in; the session is kept in the credentials file."""
    if provider is not None:
        if email is not None or password_stdin:
            raise typer.BadParameter("--provider needs neither --email nor --password-stdin")
        with open_client(base_url, session=True) as client:
            _tell(browse.sign_in(client, provider).email, client.base_url, json=json)
        return
    email = email or asked_email(password_stdin)
    password = asked_password(password_stdin, twice=False)
    with open_client(base_url, session=True) as client:
        try:
            client.login(email, password, code=code, remember=True)
        except AuthenticationError as error:
            if error.code != "second_factor_required" or code or password_stdin:
                raise
            client.login(email, password, code=asked_code(password_stdin), remember=True)
    _tell(email, client.base_url, json=json)


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


def verify(
    token: Annotated[
        str | None, typer.Argument(metavar="TOKEN", help="As the mail shows it.")
    ] = None,
    again: Annotated[
        str | None, typer.Option("--again", metavar="EMAIL", help="Have the mail sent once more.")
    ] = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Confirm that an address is yours, with the token that was mailed to it."""
    if (token is None) == (again is None):
        raise typer.BadParameter("give either the token of the mail, or --again EMAIL")
    with open_client(base_url) as client:
        if token is None:
            client.verifications.create(str(again))
            _said(f"If {again} waits for it, a mail is on its way.", {"mailed": True}, json=json)
        else:
            found = client.verifications.confirm(token)
            _said(f"Thank you: {found.email} is verified.", found.to_dict(), json=json)
            say(_VERIFIED.get(found.status, f"The account is {found.status}."))


def reset(
    email: Annotated[str | None, typer.Argument(help="Have a token mailed there.")] = None,
    token: Annotated[
        str | None, typer.Option("--token", help="Set a new password with the mailed token.")
    ] = None,
    password_stdin: PasswordStdin = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Set a new password by mail: first with the address, then with the token."""
    if (email is None) == (token is None):
        raise typer.BadParameter("give either an e-mail address or --token")
    with open_client(base_url) as client:
        if token is None:
            client.resets.create(str(email))
        else:
            client.resets.confirm(token, asked_password(password_stdin, twice=True))
    if json:
        emit({"mailed": token is None, "changed": token is not None})
    elif token is None:
        typer.echo(f"If {email} has an account, a mail is on its way.")
    else:
        typer.echo("The password is set. Every session has ended; sign in: dormouse login")


def _tell(email: str, base_url: str, *, json: bool) -> None:
    found = {"email": email, "base_url": base_url}
    _said(f"Signed in as {email} at {base_url}.", found, json=json)


def _said(text: str, data: object, *, json: bool) -> None:
    if json:
        emit(data)
    else:
        typer.echo(text)
