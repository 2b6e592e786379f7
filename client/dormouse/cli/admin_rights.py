"""`dormouse admin grant`, `take-away`, `refuse`, `requests`, `access`: who may call what."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dormouse.cli.admin_users import Who
from dormouse.cli.ends import Expires, written_end
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, local_time, table

if TYPE_CHECKING:
    from dormouse.administration import Access

ServiceName = Annotated[
    str, typer.Argument(metavar="SERVICE", help="As `dormouse services` shows it.")
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; kept with the decision.")]


def grant(
    user: Who,
    service: ServiceName,
    expires: Expires = None,
    reason: Reason = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Let a user call a service; also approves what they asked for."""
    end = written_end(expires)
    with open_client(base_url, session=True) as client:
        found = client.admin.users.find(user)
        made = client.admin.users.grant(found.id, service, expires_at=end, reason=reason)
    if json:
        emit(made.to_dict())
    else:
        until = f" until {local_time(made.expires_at)}" if made.expires_at else ""
        typer.echo(f"{found.email} may call {service}{until}.")


def take_away(
    user: Who,
    service: ServiceName,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why; stays in the audit log for ever.")
    ] = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Take the right to call a service away, at once."""
    with open_client(base_url, session=True) as client:
        found = client.admin.users.find(user)
        client.admin.users.take_away(found.id, service, reason=reason)
    if json:
        emit({"user": found.id, "service": service, "taken_away": True})
    else:
        typer.echo(f"{found.email} no longer has {service} of their own.")


def refuse(
    user: Who,
    service: ServiceName,
    reason: Reason = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Refuse what a user asked for. They may ask again."""
    with open_client(base_url, session=True) as client:
        found = client.admin.users.find(user)
        made = client.admin.users.refuse(found.id, service, reason=reason)
    if json:
        emit(made.to_dict())
    else:
        typer.echo(f"Refused {service} to {found.email}.")


def requests(json: Json = False, base_url: BaseUrl = None) -> None:
    """List the accounts and entitlements that wait for a decision."""
    with open_client(base_url, session=True) as client:
        found = list(client.admin.requests.list())
    if json:
        emit({"items": [each.to_dict() for each in found]})
        return
    table(
        ("Since", "User", "Asks for", "Reason"),
        (
            (
                local_time(each.created_at),
                each.email or each.user,
                each.service or "an account",
                each.reason or "",
            )
            for each in found
        ),
    )


def access(
    user: Annotated[
        str | None, typer.Option("--user", help="Only this user: id or e-mail address.")
    ] = None,
    service: Annotated[str | None, typer.Option("--service", help="Only this service.")] = None,
    unused_days: Annotated[
        int | None, typer.Option("--unused-days", min=0, help="Not used for so long, or never.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")] = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Show who has access to what, by whom and why."""
    with open_client(base_url, session=True) as client:
        id = client.admin.users.find(user).id if user is not None else None
        review = client.admin.access
        if csv:
            review.csv(sys.stdout.buffer, user=id, service=service, unused_days=unused_days)
            return
        found = list(review.list(user=id, service=service, unused_days=unused_days))
    if json:
        emit({"items": [each.to_dict() for each in found]})
        return
    table(
        ("User", "Service", "Through", "Since", "Until", "Last used", ">Keys", "Reason"),
        (_row(each) for each in found),
    )


def _row(each: "Access") -> Sequence[str]:
    return (
        each.email or each.user,
        each.service,
        each.through,
        local_time(each.granted_at),
        local_time(each.expires_at),
        local_time(each.last_used_at) or "never",
        str(each.keys),
        each.reason or "",
    )
