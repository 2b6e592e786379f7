"""Options that several commands have, and the client that they lead to."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dormouse.client import Dormouse

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for programs.")]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="The server. Default: DORMOUSE_BASE_URL, else http://127.0.0.1:5000.",
    ),
]
Model = Annotated[
    str | None, typer.Option("--model", help="Default: the first that the server offers.")
]
Priority = Annotated[
    int | None, typer.Option("--priority", min=0, max=2, help="0 is served first.")
]


def open_client(base_url: str | None, *, session: bool = False) -> "Dormouse":
    """`session`: for what a key may not do, the signed-in user's session goes before a key."""
    from dormouse.client import Dormouse

    if session:
        os.environ.pop("DORMOUSE_API_KEY", None)
    try:
        return Dormouse(base_url)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
