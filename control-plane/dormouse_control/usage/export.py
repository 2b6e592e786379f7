"""Usage as rows of a file: sums by hour, or every call. Money is exact.

Rows are read one after another, so a million calls need no more memory than a thousand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal  # cells of all kinds

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from dormouse.prices import NANO
from dormouse_control.usage.filters import Filters
from dormouse_control.usage.groups import KEY, SUMS, TAGS, grouped
from dormouse_control.usage.models import UsageEntry

Granularity = Literal["hour", "call"]
Kind = Literal["text", "number", "time", "flag", "money"]
"""Of a column's cells: str, int, aware datetime, bool and Decimal; or None."""

_AT_ONCE = 5000
_SUMMED: Mapping[str, Kind] = {
    "cost" if name == "cost_nano" else name: "money" if name == "cost_nano" else "number"
    for name in SUMS
}
_HOURS: Mapping[str, Kind] = dict.fromkeys(("user", "key", "service", "model", "tags"), "text")


@dataclass(frozen=True)
class Table:
    """Name -> kind of every column, and the rows, each with a cell for each column."""

    columns: Mapping[str, Kind]
    rows: Iterator[Sequence[Any]]


def table(reading: Session, filters: Filters, by: Granularity, *, currency: str) -> Table:
    """Reads nothing until the first row is asked for."""
    columns, wanted = _hours(reading, filters) if by == "hour" else _calls(filters)
    return Table({**columns, "currency": "text"}, _rows(reading, wanted, columns, currency))


def _hours(reading: Session, filters: Filters) -> tuple[dict[str, Kind], Select[Any]]:
    """One row for each hour (UTC), user, key, service, model and set of tags."""
    columns: dict[str, Kind] = {"hour": "time", **_HOURS, "requests": "number", **_SUMMED}
    return columns, grouped(reading, filters, ("hour", *_HOURS))


_CALL: Mapping[str, tuple[Kind, Any]] = {
    "time": ("time", UsageEntry.time),
    "request_id": ("text", UsageEntry.request_id),
    "user": ("text", UsageEntry.user_id),
    "key": ("text", KEY),
    "service": ("text", UsageEntry.service),
    "model": ("text", UsageEntry.model),
    "version": ("text", UsageEntry.version),
    "endpoint": ("text", UsageEntry.endpoint),
    "outcome": ("text", UsageEntry.outcome),
    "estimated": ("flag", UsageEntry.estimated),
    "tags": ("text", TAGS),
    "end_user": ("text", UsageEntry.end_user),
    "gpus": ("number", UsageEntry.gpus),
    "duration_ms": ("number", UsageEntry.duration_ms),
    "queue_ms": ("number", UsageEntry.queue_ms),
    "cold_start_ms": ("number", UsageEntry.cold_start_ms),
}


def _calls(filters: Filters) -> tuple[dict[str, Kind], Select[Any]]:
    columns: dict[str, Kind] = {name: kind for name, (kind, _) in _CALL.items()}
    columns |= _SUMMED
    cells = [column.label(name) for name, (_, column) in _CALL.items()]
    cells += [column.label(name) for name, column in SUMS.items()]
    wanted = select(*cells).where(*filters.conditions())
    return columns, wanted.order_by(UsageEntry.time, UsageEntry.id)


def _rows(
    reading: Session, wanted: Select[Any], columns: Mapping[str, Kind], currency: str
) -> Iterator[Sequence[Any]]:
    kinds = tuple(columns.values())
    for row in reading.execute(wanted, execution_options={"yield_per": _AT_ONCE}):
        yield [*_cells(row, kinds), currency]


def _cells(row: Row[Any], kinds: Sequence[Kind]) -> Iterator[Any]:
    for value, kind in zip(row, kinds, strict=True):
        if value is None:
            yield None
        elif kind == "money":
            yield Decimal(int(value)) / NANO
        elif kind == "number":
            yield int(value)  # PostgreSQL's sums are decimals
        elif kind == "time" and isinstance(value, str):
            yield datetime.fromisoformat(value)
        else:
            yield value
