"""Limits of API keys as they are written on a command line, and as tables show them."""

import re
from typing import Annotated, TypedDict

import typer

from dormouse.accounts import Key, KeyLimits
from dormouse.cli.ends import end
from dormouse.cli.output import local_time

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)/(day|month|total)")

Services = Annotated[list[str] | None, typer.Option("--service", help="Only this service.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Only this model.")]
Endpoints = Annotated[
    list[str] | None, typer.Option("--endpoint", help="Only this, e.g. chat.completions.")
]
Ranges = Annotated[
    list[str] | None,
    typer.Option("--ip", metavar="CIDR", help="Only from there, e.g. 192.0.2.0/24."),
]
PerMinute = Annotated[int | None, typer.Option("--rpm", min=1, help="Most requests a minute.")]
Tokens = Annotated[int | None, typer.Option("--tpm", min=1, help="Most tokens a minute.")]
Concurrent = Annotated[
    int | None, typer.Option("--concurrent", min=1, help="Most calls at the same time.")
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=VALUE", help="Put to every call in the reports."),
]
Budget = Annotated[
    str | None, typer.Option(metavar="5/month", help="Most money, per day, month or total.")
]
Without = Annotated[
    list[str] | None,
    typer.Option("--no", metavar="LIMIT", help="Take a limit away: service, expires, rpm, …"),
]
_LIFTED: dict[str, KeyLimits] = {
    "expires": {"expires_at": None},
    "service": {"services": None},
    "model": {"models": None},
    "endpoint": {"endpoints": None},
    "ip": {"ip_ranges": None},
    "rpm": {"requests_per_minute": None},
    "tpm": {"tokens_per_minute": None},
    "concurrent": {"concurrent_calls": None},
    "tag": {"tags": None},
    "budget": {"budget": None},
}


def lifted(names: list[str] | None) -> KeyLimits:
    """The limits that are to be taken away."""
    found = KeyLimits()
    for name in names or ():
        if name not in _LIFTED:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(_LIFTED)}", param_hint="--no")
        found |= _LIFTED[name]
    return found


def limits(
    *,
    expires: str | None,
    services: list[str] | None,
    models: list[str] | None,
    endpoints: list[str] | None,
    ip_ranges: list[str] | None,
    per_minute: int | None,
    tokens: int | None,
    concurrent: int | None,
    budget: str | None,
    tags: list[str] | None,
) -> KeyLimits:
    """Those that were given."""
    found = KeyLimits()
    if expires is not None:
        found["expires_at"] = end(expires)
    if services:
        found["services"] = services
    if models:
        found["models"] = models
    if endpoints:
        found["endpoints"] = endpoints
    if ip_ranges:
        found["ip_ranges"] = ip_ranges
    if per_minute is not None:
        found["requests_per_minute"] = per_minute
    if tokens is not None:
        found["tokens_per_minute"] = tokens
    if concurrent is not None:
        found["concurrent_calls"] = concurrent
    if budget is not None:
        found["budget"] = dict(money(budget, hint="--budget"))
    if tags:
        found["tags"] = dict(_tag(each) for each in tags)
    return found


def shown(key: Key) -> str:
    """A key's limits in one cell."""
    named = [key.services, key.models, key.endpoints, key.ip_ranges]
    parts = [", ".join(limit) for limit in named if limit]
    if key.requests_per_minute is not None:
        parts.append(f"{key.requests_per_minute}/min")
    if key.tokens_per_minute is not None:
        parts.append(f"{key.tokens_per_minute} tokens/min")
    if key.concurrent_calls is not None:
        parts.append(f"{key.concurrent_calls} at once")
    if key.budget is not None:
        parts.append(f"{key.budget.amount:g}/{key.budget.period}")
    if key.expires_at is not None:
        parts.append(f"until {local_time(key.expires_at)}")
    return "; ".join(parts) or "none"


class Money(TypedDict):
    amount: float
    period: str


def money(text: str, *, hint: str) -> Money:
    """What 5/month means. Raises typer's BadParameter, with `hint` as what was wrong."""
    found = _BUDGET.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not like 5/month (or /day, /total)", param_hint=hint)
    return {"amount": float(found[1]), "period": found[2]}


def _tag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not like project=atlas", param_hint="--tag")
    return name, value
