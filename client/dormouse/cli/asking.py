"""Questions at the terminal. A password is never an argument: others could read it."""

import sys
from typing import Annotated

import typer

PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin, one line.")
]


def asked_email(password_stdin: bool) -> str:
    if password_stdin:
        raise typer.BadParameter("--password-stdin needs the e-mail address too")
    _needs_terminal("--email and --password-stdin")
    return str(typer.prompt("Email", err=True))


def asked_password(password_stdin: bool, *, twice: bool, text: str = "Password") -> str:
    """From the terminal, without showing it, or the line on stdin."""
    if password_stdin:
        return _line()
    _needs_terminal("--password-stdin")
    return str(typer.prompt(text, hide_input=True, confirmation_prompt=twice, err=True))


def asked_code(password_stdin: bool) -> str:
    """Of the second factor, from the terminal, or the next line on stdin."""
    if password_stdin:
        return _line()
    _needs_terminal("--password-stdin")
    return str(typer.prompt("Code of your second factor", err=True))


def _needs_terminal(instead: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"there is no terminal to ask; use {instead}")


def _line() -> str:
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise typer.BadParameter("there was no password or code on stdin")
    return password
