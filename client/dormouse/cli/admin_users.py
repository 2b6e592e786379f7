"""`dormouse admin users`, `user`, `approve` and so on: other people's accounts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, local_time, table

if TYPE_CHECKING:
    from dormouse.administration import User

Who = Annotated[str, typer.Argument(metavar="USER", help="Id or e-mail address.")]


def users(
    text: Annotated[str | None, typer.Argument(help="Part of the e-mail address.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only these.")] = None,
    role: Annotated[str | None, typer.Option("--role", help="Only these.")] = None,
    tier: Annotated[str | None, typer.Option("--tier", help="Only these.")] = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """List the users, newest first."""
    with open_client(base_url, session=True) as client:
        found = list(client.admin.users.list(status=status, role=role, tier=tier, q=text))
    if json:
        emit({"items": [each.to_dict() for each in found]})
        return
    table(
        ("Id", "E-mail", "Status", "Role", "Tier", "Made"),
        (_row(each) for each in found),
    )


def user(user: Who, json: Json = False, base_url: BaseUrl = None) -> None:
    """Show one user and their keys."""
    with open_client(base_url, session=True) as client:
        found = client.admin.users.find(user)
        keys = list(client.admin.users.keys(found.id)) if found.status != "erased" else []
    if json:
        emit(found.to_dict() | {"keys": [key.to_dict() for key in keys]})
        return
    table(("Id", "E-mail", "Status", "Role", "Tier", "Made"), [_row(found)])
    typer.echo()
    table(
        ("Key", "Name", "Begins with", "Last used"),
        ((key.id, key.name, key.prefix, local_time(key.last_used_at) or "never") for key in keys),
    )


def approve(user: Who, json: Json = False, base_url: BaseUrl = None) -> None:
    """Let in somebody whose account waits."""
    _change(user, json=json, base_url=base_url, status="active")


def enable(user: Who, json: Json = False, base_url: BaseUrl = None) -> None:
    """Let a disabled user in again."""
    _change(user, json=json, base_url=base_url, status="active")


def disable(user: Who, json: Json = False, base_url: BaseUrl = None) -> None:
    """Shut a user out: sessions and running calls end, keys stop working."""
    _change(user, json=json, base_url=base_url, status="disabled")


def role(
    user: Who,
    role: Annotated[str, typer.Argument(help="user, operator or administrator.")],
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Give a user another role."""
    _change(user, json=json, base_url=base_url, role=role)


def tier(
    user: Who,
    tier: Annotated[str, typer.Argument(help="As `dormouse admin tiers list` shows it.")],
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Give a user another tier."""
    _change(user, json=json, base_url=base_url, tier=tier)


def erase(
    user: Who,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Erase a user for good."""
    with open_client(base_url, session=True) as client:
        found = client.admin.users.find(user)
        if not yes:
            typer.confirm(f"Erase {found.email} ({found.id}) for good?", abort=True, err=True)
        client.admin.users.delete(found.id)
    _done({"erased": found.id}, f"Erased {found.id}.", json=json)


def end_sessions(user: Who, json: Json = False, base_url: BaseUrl = None) -> None:
    """End all sessions of a user."""
    with open_client(base_url, session=True) as client:
        found = client.admin.users.find(user)
        client.admin.users.end_sessions(found.id)
    _done({"ended": found.id}, f"All sessions of {found.email} have ended.", json=json)


def remove_second_factor(
    user: Who,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Let somebody who lost phone and recovery codes in with the password alone."""
    with open_client(base_url, session=True) as client:
        found = client.admin.users.find(user)
        if not yes:
            asked = f"Are you sure that {found.email} asked for this, and nobody in their name?"
            typer.confirm(asked, abort=True, err=True)
        client.admin.users.remove_second_factor(found.id)
    said = f"{found.email} signs in with the password alone. Their sessions have ended."
    _done({"removed": found.id}, said, json=json)


def unlock(user: Who, json: Json = False, base_url: BaseUrl = None) -> None:
    """Forget failed attempts to sign in as a user."""
    with open_client(base_url, session=True) as client:
        found = client.admin.users.find(user)
        client.admin.users.forget_attempts(found.id)
    _done({"unlocked": found.id}, f"{found.email} may try to sign in at once.", json=json)


def revoke_key(
    user: Who,
    key: Annotated[str, typer.Argument(help="As `dormouse admin user` shows it.")],
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Make a user's key useless, at once."""
    with open_client(base_url, session=True) as client:
        client.admin.users.revoke_key(client.admin.users.find(user).id, key)
    _done({"revoked": key}, f"Revoked {key}.", json=json)


def _change(
    name: str,
    *,
    json: bool,
    base_url: str | None,
    status: str | None = None,
    role: str | None = None,
    tier: str | None = None,
) -> None:
    with open_client(base_url, session=True) as client:
        found = client.admin.users.find(name)
        changed = client.admin.users.change(found.id, status=status, role=role, tier=tier)
    said = f"{changed.email} is {changed.status}: {changed.role}, tier {changed.tier}."
    _done(changed.to_dict(), said, json=json)


def _done(data: object, said: str, *, json: bool) -> None:
    if json:
        emit(data)
    else:
        typer.echo(said)


def _row(user: "User") -> Sequence[str]:
    made = local_time(user.created_at)
    return (user.id, user.email or "", user.status, user.role, user.tier, made)
