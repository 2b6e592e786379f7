"""`dormouse keys create | list | change | revoke`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from dormouse.accounts import Key
from dormouse.cli.ends import Expires
from dormouse.cli.key_limits import (
    Budget,
    Concurrent,
    Endpoints,
    Models,
    PerMinute,
    Ranges,
    Services,
    Tags,
    Tokens,
    Without,
    lifted,
    limits,
    shown,
)
from dormouse.cli.options import BaseUrl, Json, open_client
from dormouse.cli.output import emit, local_time, say, table

Id = Annotated[str, typer.Argument(metavar="ID", help="As `dormouse keys list` shows it.")]

app = typer.Typer(
    help="API keys: make, list, change, revoke.", no_args_is_help=True, rich_markup_mode=None
)


@app.command(epilog="Example: export DORMOUSE_API_KEY=$(dormouse keys create laptop)")
def create(
    name: Annotated[str, typer.Argument(help="What it is for; only you see it.")],
    expires: Expires = None,
    services: Services = None,
    models: Models = None,
    endpoints: Endpoints = None,
    ip_ranges: Ranges = None,
    per_minute: PerMinute = None,
    tokens: Tokens = None,
    concurrent: Concurrent = None,
    budget: Budget = None,
    tags: Tags = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Make a key. It is shown this once."""
    given = limits(
        expires=expires,
        services=services,
        models=models,
        endpoints=endpoints,
        ip_ranges=ip_ranges,
        per_minute=per_minute,
        tokens=tokens,
        concurrent=concurrent,
        budget=budget,
        tags=tags,
    )
    with open_client(base_url, session=True) as client:
        key = client.keys.create(name, **given)
    if json:
        emit(key.to_dict())
    else:
        typer.echo(key.key)
        say("Keep it now: it is not shown again. Whoever has it can call in your name.")


@app.command(epilog="Example: dormouse keys change key_01jh… --service chat --expires 30d")
def change(
    id: Id,
    name: Annotated[str | None, typer.Option(help="What it is for; only you see it.")] = None,
    expires: Expires = None,
    services: Services = None,
    models: Models = None,
    endpoints: Endpoints = None,
    ip_ranges: Ranges = None,
    per_minute: PerMinute = None,
    tokens: Tokens = None,
    concurrent: Concurrent = None,
    budget: Budget = None,
    tags: Tags = None,
    without: Without = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Change a key's name or limits; what you do not name stays."""
    given = limits(
        expires=expires,
        services=services,
        models=models,
        endpoints=endpoints,
        ip_ranges=ip_ranges,
        per_minute=per_minute,
        tokens=tokens,
        concurrent=concurrent,
        budget=budget,
        tags=tags,
    )
    with open_client(base_url, session=True) as client:
        key = client.keys.change(id, name=name, **(lifted(without) | given))
    if json:
        emit(key.to_dict())
    else:
        typer.echo(f"Changed {key.id}. Its limits: {shown(key)}.")


@app.command("list", epilog="Example: dormouse keys list")
def list_(json: Json = False, base_url: BaseUrl = None) -> None:
    """List your keys."""
    with open_client(base_url) as client:
        keys = list(client.keys.list())
    if json:
        emit({"items": [key.to_dict() for key in keys]})
        return
    table(
        ("Id", "Name", "Begins with", "Made", "Last used", "Limits"),
        (_row(key) for key in keys),
    )


@app.command(epilog="Example: dormouse keys revoke key_01jh…")
def revoke(
    id: Id,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Make a key useless, at once."""
    with open_client(base_url, session=True) as client:
        client.keys.delete(id)
    if json:
        emit({"revoked": id})
    else:
        typer.echo(f"Revoked {id}.")


def _row(key: Key) -> Sequence[str]:
    used = local_time(key.last_used_at) or "never"
    return (key.id, key.name, key.prefix, local_time(key.created_at), used, shown(key))
