"""`dormouse up`: hands over to the platform, which this package knows only by name."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from dormouse.cli.output import say

PLATFORM = "dormouse_control"


def up(
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Default: 5000.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option("--home", help="Where everything is kept. Default: ~/.dormouse.")
    ] = None,
) -> None:
    """Start the platform on this machine; Ctrl-C stops it."""
    if find_spec(PLATFORM) is None:
        say(
            "dormouse: this is only the client (platform_missing). To run the platform here: "
            'pip install "dormouse[control-plane,gateway,predictors,torch,llama]"'
        )
        raise typer.Exit(1)
    if port is not None:
        os.environ["DORMOUSE_PORT"] = str(port)
    if home is not None:
        os.environ["DORMOUSE_HOME"] = str(home.expanduser().absolute())
    # -P: a folder in which the command is run cannot put its own modules in the way.
    os.execv(sys.executable, [sys.executable, "-P", "-m", PLATFORM, "up"])  # noqa: S606 - no shell
