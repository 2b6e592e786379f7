"""`dormouse passwd`, `second-factor on | off`: what you sign in with."""

import sys
from typing import Annotated

import typer

from dormouse.cli.asking import PasswordStdin, asked_code, asked_password
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, say

app = typer.Typer(
    help="Second factor: switch on, switch off.", no_args_is_help=True, rich_markup_mode=None
)
PasswordsStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read from stdin: a line now, a line new."),
]


def passwd(
    password_stdin: PasswordsStdin = False, json: Json = False, base_url: BaseUrl = None
) -> None:
    """Change your password. Every other session of yours ends."""
    current = asked_password(password_stdin, twice=False, text="Current password")
    new = asked_password(password_stdin, twice=True, text="New password")
    with open_client(base_url, session=True) as client:
        client.change_password(current, new)
    if json:
        emit({"changed": True})
    else:
        typer.echo("The password is changed, and every other session has ended.")


@app.command(epilog="Example: dormouse second-factor on")
def on(password_stdin: PasswordStdin = False, json: Json = False, base_url: BaseUrl = None) -> None:
    """Set up codes of an authenticator app. With --password-stdin the code is the next line."""
    password = asked_password(password_stdin, twice=False)
    with open_client(base_url, session=True) as client:
        enrolment = client.second_factor.create(password)
        _show(enrolment.uri)
        say(f"Scan this, or type the secret into your authenticator app: {enrolment.secret}")
        say(enrolment.uri)
        codes = client.second_factor.confirm(asked_code(password_stdin))
    if json:
        emit({"recovery_codes": codes})
        return
    say("It is on, and every other session has ended.")
    say("Keep these codes: each signs you in once without the app. They are not shown again.")
    for code in codes:
        typer.echo(code)


@app.command(epilog="Example: dormouse second-factor off")
def off(
    code: Annotated[
        str | None, typer.Option("--code", help="Of the app, or a recovery code. Else asked for.")
    ] = None,
    password_stdin: PasswordStdin = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Sign in with the password alone again."""
    password = asked_password(password_stdin, twice=False)
    code = code or asked_code(password_stdin)
    with open_client(base_url, session=True) as client:
        client.second_factor.delete(password, code)
    if json:
        emit({"second_factor": False})
    else:
        typer.echo("The second factor is off, and every other session has ended.")


def _show(uri: str) -> None:
    """As a QR code, where somebody can see it."""
    if sys.stderr.isatty():
        import segno

        segno.make(uri, error="l").terminal(out=sys.stderr, compact=True)
