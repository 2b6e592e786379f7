"""`dormouse login --provider NAME`, `dormouse providers`: signing in with a browser."""

import sys
import webbrowser
from typing import TYPE_CHECKING

import typer

from dormouse.accounts import Account, Provider
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, say, table
from dormouse.errors import AuthenticationError

if TYPE_CHECKING:
    from dormouse.client import Dormouse

PATIENCE_SECONDS = 300


def providers(json: Json = False, base_url: BaseUrl = None) -> None:
    """List with whom you can sign in."""
    with open_client(base_url) as client:
        found = list(client.providers.list())
    if json:
        emit({"items": [provider.to_dict() for provider in found]})
    else:
        table(("Name", "Title"), ((provider.name, provider.title) for provider in found))


def sign_in(client: "Dormouse", name: str) -> Account:
    """Through a browser, on this machine; the session is kept in the credentials file."""
    from dormouse.browser import BrowserSignIn

    provider = _named(client, name)
    with BrowserSignIn() as browser:
        address = browser.address(provider.url)
        say(f"Sign in with {provider.title} in your browser. If it does not open, go to:")
        say(address)
        webbrowser.open(address)
        code = browser.wait(PATIENCE_SECONDS)
    return _exchanged(client, code, browser.verifier)


def _named(client: "Dormouse", name: str) -> Provider:
    found = {provider.name: provider for provider in client.providers.list()}
    if name not in found:
        known = ", ".join(found) or "none"
        raise typer.BadParameter(f"there is no provider {name!r}; there are: {known}")
    return found[name]


def _exchanged(client: "Dormouse", code: str, verifier: str) -> Account:
    try:
        return client.login_with_code(code, verifier, remember=True)
    except AuthenticationError as error:
        if error.code != "second_factor_required" or not sys.stdin.isatty():
            raise
    second_factor = str(typer.prompt("Code of your second factor", err=True))
    return client.login_with_code(code, verifier, second_factor=second_factor, remember=True)
