"""`dormouse admin groups …`: groups of users, and what all members may call."""

from typing import TYPE_CHECKING, Annotated

import typer

from dormouse.cli.admin_rights import Reason, ServiceName
from dormouse.cli.admin_users import Who
from dormouse.cli.ends import Expires, written_end
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, local_time, table

if TYPE_CHECKING:
    from dormouse.administration import Group

app = typer.Typer(help="Groups of users.", no_args_is_help=True, rich_markup_mode=None)

GroupId = Annotated[
    str, typer.Argument(metavar="GROUP", help="As `dormouse admin groups list` shows it.")
]


@app.command("list", epilog="Example: dormouse admin groups list")
def list_(json: Json = False, base_url: BaseUrl = None) -> None:
    """List the groups."""
    with open_client(base_url, session=True) as client:
        found = list(client.admin.groups.list())
    if json:
        emit({"items": [each.to_dict() for each in found]})
        return
    table(
        ("Id", "Name", ">Members", ">Services"),
        ((each.id, each.name, str(each.members), str(each.services)) for each in found),
    )


@app.command(epilog="Example: dormouse admin groups show grp_01jh…")
def show(group: GroupId, json: Json = False, base_url: BaseUrl = None) -> None:
    """Show who is in a group and what they may call."""
    with open_client(base_url, session=True) as client:
        found = client.admin.groups.get(group)
        members = list(client.admin.groups.members(group))
    if json:
        items = [each.to_dict() for each in members]
        emit(found.to_dict() | {"members": items})
        return
    table(
        ("Service", "Until", "Reason"),
        (
            (each.service, local_time(each.expires_at), each.reason or "")
            for each in found.entitlements
        ),
    )
    typer.echo()
    table(
        ("Member", "E-mail", "Since"),
        ((each.user, each.email or "", local_time(each.added_at)) for each in members),
    )


@app.command(epilog="Example: dormouse admin groups create painters")
def create(name: str, json: Json = False, base_url: BaseUrl = None) -> None:
    """Make a group."""
    with open_client(base_url, session=True) as client:
        _said(client.admin.groups.create(name), json=json)


@app.command(epilog="Example: dormouse admin groups rename grp_01jh… drawers")
def rename(group: GroupId, name: str, json: Json = False, base_url: BaseUrl = None) -> None:
    """Give a group another name."""
    with open_client(base_url, session=True) as client:
        _said(client.admin.groups.rename(group, name), json=json)


@app.command(epilog="Example: dormouse admin groups delete grp_01jh…")
def delete(group: GroupId, json: Json = False, base_url: BaseUrl = None) -> None:
    """Delete a group; its members lose what they had by it alone."""
    with open_client(base_url, session=True) as client:
        client.admin.groups.delete(group)
    _done(f"Deleted {group}.", {"deleted": group}, json=json)


@app.command(epilog="Example: dormouse admin groups add grp_01jh… ada@example.org")
def add(group: GroupId, user: Who, json: Json = False, base_url: BaseUrl = None) -> None:
    """Put a user into a group."""
    with open_client(base_url, session=True) as client:
        id = client.admin.users.find(user).id
        client.admin.groups.add_member(group, id)
    _done(f"{user} is in {group}.", {"group": group, "added": id}, json=json)


@app.command(epilog="Example: dormouse admin groups remove grp_01jh… ada@example.org")
def remove(group: GroupId, user: Who, json: Json = False, base_url: BaseUrl = None) -> None:
    """Take a user out of a group."""
    with open_client(base_url, session=True) as client:
        id = client.admin.users.find(user).id
        client.admin.groups.remove_member(group, id)
    _done(f"{user} is no longer in {group}.", {"group": group, "removed": id}, json=json)


@app.command(epilog="Example: dormouse admin groups grant grp_01jh… chat --reason course")
def grant(
    group: GroupId,
    service: ServiceName,
    expires: Expires = None,
    reason: Reason = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Let all members call a service."""
    end = written_end(expires)
    with open_client(base_url, session=True) as client:
        made = client.admin.groups.grant(group, service, expires_at=end, reason=reason)
    _done(f"All of {group} may call {service}.", made.to_dict(), json=json)


@app.command("take-away", epilog="Example: dormouse admin groups take-away grp_01jh… chat")
def take_away(
    group: GroupId, service: ServiceName, json: Json = False, base_url: BaseUrl = None
) -> None:
    """Take a service away from all who have it by this group alone."""
    with open_client(base_url, session=True) as client:
        client.admin.groups.take_away(group, service)
    _done(f"{group} no longer has {service}.", {"group": group, "service": service}, json=json)


def _said(group: "Group", *, json: bool) -> None:
    _done(f"{group.id} is called {group.name}.", group.to_dict(), json=json)


def _done(said: str, data: object, *, json: bool) -> None:
    if json:
        emit(data)
    else:
        typer.echo(said)
