"""The `dormouse` command: what there is to say, and how a failure is said.

Heavy imports (httpx, rich) happen inside the commands, so that `--help` is quick.
"""

import contextlib
import io
import sys
from typing import Any  # click's context carries anything

import typer
from typer.core import TyperGroup

from dormouse.cli import (
    account,
    admin,
    ask,
    audit,
    browse,
    budgets,
    invitations,
    keys,
    ledger,
    look,
    own,
    proofs,
    requests,
    sessions,
    status,
    up,
    usage,
)
from dormouse.cli.failures import explain
from dormouse.cli.options import Json
from dormouse.cli.output import emit, say
from dormouse.errors import DormouseError
from dormouse.version import __version__


class Commands(TyperGroup):
    """Turns what the library raises into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DormouseError as error:
            say(explain(error))
            raise typer.Exit(1) from error
        except typer.Abort as error:
            # Ctrl-C or Ctrl-D at a question.
            say("")
            raise typer.Exit(130) from error


app = typer.Typer(
    cls=Commands,
    name="dormouse",
    help="Dormouse: every model sleeps until somebody calls it.",
    epilog="First steps: dormouse up, then dormouse signup, dormouse entitle chat, dormouse chat",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help is four times as quick, and errors stay one line
    pretty_exceptions_enable=False,
)


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character must not end an answer.
            with contextlib.suppress(OSError):
                stream.reconfigure(errors="replace")
    app()


@app.command(epilog="Example: dormouse version --json")
def version(json: Json = False) -> None:
    """Show the version of this command."""
    if json:
        emit({"version": __version__})
    else:
        typer.echo(f"dormouse {__version__}")


app.command(epilog="Example: dormouse up --port 8080")(up.up)
app.command(epilog="Example: dormouse signup --email ada@example.org")(account.signup)
app.command(epilog="Example: dormouse login --email ada@example.org")(account.login)
app.command(epilog="Example: dormouse login --provider company")(browse.providers)
app.command(epilog="Example: dormouse logout")(account.logout)
app.command(epilog="Example: dormouse verify ott_01jh…")(account.verify)
app.command(epilog="Example: dormouse reset ada@example.org")(account.reset)
app.command(epilog="Example: dormouse passwd")(proofs.passwd)
app.add_typer(sessions.app, name="sessions")
app.add_typer(proofs.app, name="second-factor")
app.command(epilog="Example: dormouse services")(look.services)
app.command(epilog="Example: dormouse entitle chat")(look.entitle)
app.add_typer(keys.app, name="keys")
app.add_typer(budgets.app, name="budgets")
app.add_typer(invitations.app, name="invitations")
app.add_typer(admin.app, name="admin")
app.add_typer(audit.app, name="audit")
app.add_typer(ledger.app, name="ledger")
app.command(epilog='Example: dormouse chat "What is an entitlement?"')(ask.chat)
app.command(epilog='Example: dormouse embed "A small sleepy animal" --json')(ask.embed)
app.add_typer(requests.app, name="requests")
app.command(epilog="Example: dormouse usage --by day --since 2030-01-01")(usage.usage)
app.command(epilog="Example: dormouse workspace")(own.workspace)
app.command(epilog="Example: dormouse export mine.zip")(own.export)
app.command(epilog="Example: dormouse erase")(own.erase)
app.command(epilog="Example: dormouse status --watch")(status.status)
