"""`dormouse workspace`, `export`, `erase`: all that is yours."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dormouse.cli.asking import PasswordStdin, asked_password
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import amount, emit, local_time, table
from dormouse.cli.saving import saved

if TYPE_CHECKING:
    from dormouse.administration import Workspace


def workspace(json: Json = False, base_url: BaseUrl = None) -> None:
    """Show all that is yours: services, keys, usage, limits, requests."""
    with open_client(base_url) as client:
        found = client.workspace.get()
    if json:
        emit(found.to_dict())
    else:
        _show(found)


def export(
    file: Annotated[Path, typer.Argument(help="Where to; it must not exist yet.")],
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Save all that is stored about you as a ZIP archive."""
    with open_client(base_url, session=True) as client, saved(file) as target:
        client.workspace.export(target)
    if json:
        emit({"file": str(file), "bytes": file.stat().st_size})
    else:
        typer.echo(f"Saved to {file}.")


def erase(
    code: Annotated[
        str | None, typer.Option("--code", help="Of your second factor, if you have one.")
    ] = None,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="If your account has none.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask twice.")] = False,
    password_stdin: PasswordStdin = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Erase your account and all that is yours, for good."""
    with open_client(base_url, session=True) as client:
        me = client.me()
        if not yes:
            typer.confirm(f"Erase the account of {me.email}?", abort=True, err=True)
            typer.confirm("It cannot be brought back. Really?", abort=True, err=True)
        password = None if no_password else asked_password(password_stdin, twice=False)
        client.workspace.erase(password=password, code=code)
        client.logout()
    if json:
        emit({"erased": me.id})
    else:
        typer.echo(f"The account of {me.email} is erased.")


def _show(found: "Workspace") -> None:
    account, limits, usage = found.account, found.limits, found.usage
    typer.echo(f"{account.email}: {account.tier}, {found.sessions} open sessions\n")
    table(
        ("Service", "Status", "Yours", "Until"),
        (
            (each.id, each.status, _yes(each.entitled), local_time(each.entitled_until))
            for each in found.services
        ),
    )
    typer.echo()
    table(
        ("Key", "Name", "Last used"),
        ((key.id, key.name, local_time(key.last_used_at) or "never") for key in found.keys),
    )
    waiting = ", ".join(each.service for each in found.requests) or "nothing"
    typer.echo(f"\nWaiting for: {waiting}")
    spent = amount(usage.month.cost, usage.currency)
    budget = "" if limits.monthly_budget is None else f" of {limits.monthly_budget:g}"
    typer.echo(f"This month: {usage.month.requests} calls, {spent}{budget}")
    typer.echo(f"All calls: {usage.all.requests}, {amount(usage.all.cost, usage.currency)}")
    typer.echo(
        f"Limits: {limits.requests_per_minute} requests and {limits.tokens_per_minute} tokens a"
        f" minute, {limits.concurrent_calls} at once, {limits.most_keys} keys,"
        f" priority {limits.highest_priority}"
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"
