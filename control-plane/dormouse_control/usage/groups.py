"""Sums over calls, by hour, day, month, user, key, service, model or tag."""

from collections.abc import Mapping, Sequence
from typing import Any  # columns and rows of all types

from sqlalchemy import Row, Select, SQLColumnExpression, Text, case, cast, func, select
from sqlalchemy.orm import Session

from dormouse_control.usage.filters import Filters
from dormouse_control.usage.models import UsageEntry

TAG = "tag:"
"""Before the name of a tag."""

# What was called with a session has no key, whichever session it was.
KEY = case((UsageEntry.credential.startswith("key_", autoescape=True), UsageEntry.credential))

TAGS = func.coalesce(cast(UsageEntry.tags, Text), "{}")
"""As JSON."""

SUMS: Mapping[str, SQLColumnExpression[Any]] = {
    "prompt_tokens": UsageEntry.prompt_tokens,
    "completion_tokens": UsageEntry.completion_tokens,
    "audio_ms": UsageEntry.audio_ms,
    "images": UsageEntry.images,
    "compute_ms": UsageEntry.compute_ms,
    "gpu_ms": UsageEntry.compute_ms * UsageEntry.gpus,
    "load_ms": UsageEntry.load_ms,
    "idle_ms": UsageEntry.idle_ms,
    "cost_nano": UsageEntry.cost_nano,
}

_COLUMNS: Mapping[str, SQLColumnExpression[Any]] = {
    "user": UsageEntry.user_id,
    "key": KEY,
    "service": UsageEntry.service,
    "model": UsageEntry.model,
    "tags": TAGS,
}

# How SQLite and PostgreSQL write when an hour, day or month began.
_SHAPES = {
    "hour": ("%Y-%m-%dT%H:00:00Z", 'YYYY-MM-DD"T"HH24":00:00Z"'),
    "day": ("%Y-%m-%d", "YYYY-MM-DD"),
    "month": ("%Y-%m", "YYYY-MM"),
}


def grouped(reading: Session, filters: Filters, by: Sequence[str]) -> Select[Any]:
    """Columns `by` (in their order), `requests`, and the names of `SUMS`; by the groups."""
    groups: list[Any] = [_group(reading, name).label(name) for name in by]
    calls = select(*groups, *(column.label(name) for name, column in SUMS.items()))
    # From a subquery: PostgreSQL does not see that two expressions with parameters are the same.
    found = calls.where(*filters.conditions()).subquery()
    keys = [found.c[name] for name in by]
    sums = [func.coalesce(func.sum(found.c[name]), 0).label(name) for name in SUMS]
    return select(*keys, func.count().label("requests"), *sums).group_by(*keys).order_by(*keys)


def page(
    reading: Session, filters: Filters, by: Sequence[str], *, begin: int, limit: int
) -> tuple[Sequence[Row[Any]], int | None]:
    """`limit` groups from number `begin` on, and where the next page begins."""
    wanted = grouped(reading, filters, by).offset(begin).limit(limit + 1)
    rows = reading.execute(wanted).all()
    return rows[:limit], begin + limit if len(rows) > limit else None


def _group(reading: Session, name: str) -> SQLColumnExpression[Any]:
    if name in _SHAPES:
        sqlites, postgresqls = _SHAPES[name]
        if reading.get_bind().dialect.name == "sqlite":
            return func.strftime(sqlites, UsageEntry.time)
        return func.to_char(func.timezone("UTC", UsageEntry.time), postgresqls)
    if name.startswith(TAG):
        tag: SQLColumnExpression[Any] = UsageEntry.tags[name.removeprefix(TAG)].as_string()
        return tag
    return _COLUMNS[name]
