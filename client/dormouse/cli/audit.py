"""`dormouse audit list | verify`, for administrators."""

import json as json_
from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import typer

from dormouse.administration import AuditEntry
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, local_time, say, table

app = typer.Typer(
    help="The audit log: search it, prove that nobody changed it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list", epilog="Example: dormouse audit list --action key --limit 20")
def list_(
    actor: Annotated[str | None, typer.Option("--actor", help="Id of who acted.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Id of what it is on.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", help="What was done, or how that begins.")
    ] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="done or refused.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="As 2030-01-31T12:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before it.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, at most.")] = 50,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Show who did what to whose rights, newest first."""
    with open_client(base_url, session=True) as client:
        page = client.audit.list(
            actor=actor,
            subject=subject,
            action=action,
            outcome=outcome,
            since=since,
            until=until,
            limit=min(limit, 200),
        )
        found = list(islice(page, limit))
    if json:
        emit({"items": [entry.to_dict() for entry in found]})
        return
    columns = (">Entry", "Time", "Actor", "From", "Action", "Outcome", "Subject", "Details")
    table(columns, (_row(entry) for entry in found))


@app.command(epilog="Example: dormouse audit verify --expect 1234:5f2c…")
def verify(
    expect: Annotated[
        str | None,
        typer.Option("--expect", metavar="SEQ:HASH", help="A head that was shown earlier."),
    ] = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Prove that no entry was changed, taken out or put in; exit code 1 if one was."""
    with open_client(base_url, session=True) as client:
        found = client.audit.verify(expect=expect)
    head = f"{found.last.seq}:{found.last.hash}"
    if json:
        emit(found.to_dict())
    elif found.problem is None:
        typer.echo(f"{found.entries} entries, none of them changed. The head is {head}")
        say("Note it elsewhere: with --expect it proves later that nothing was cut off.")
    else:
        typer.echo(f"The audit log is damaged: {found.problem}. It is sound up to {head}")
    if found.problem is not None:
        raise typer.Exit(1)


def _row(entry: AuditEntry) -> Sequence[str]:
    return (
        str(entry.seq),
        local_time(entry.time),
        entry.actor or "",
        entry.address or "",
        entry.action,
        entry.outcome,
        entry.subject or "",
        # ASCII only: a name in it must not steer the terminal or turn the line around.
        json_.dumps(entry.details) if entry.details else "",
    )
