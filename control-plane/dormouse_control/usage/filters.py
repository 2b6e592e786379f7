"""Which calls are meant: whose, by which key, of what, with which tags, and from when to when."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any  # a query's values before they are checked

from fastapi import Depends, Query
from pydantic import AwareDatetime, BeforeValidator, StringConstraints
from sqlalchemy import ColumnElement

from dormouse_control.usage.models import UsageEntry

_DAY_LENGTH = len("2030-01-31")
_TAG = r"^[a-z0-9][a-z0-9-]{0,31}(:[^\x00-\x1f\x7f]{1,64})?$"


@dataclass(frozen=True)
class Filters:
    """None and () mean all. A tag without a value: whichever it has. `until` is not included."""

    user: str | None = None
    key: str | None = None
    service: str | None = None
    model: str | None = None
    tags: tuple[tuple[str, str | None], ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        equal = {
            UsageEntry.user_id: self.user,
            UsageEntry.credential: self.key,
            UsageEntry.service: self.service,
            UsageEntry.model: self.model,
        }
        found = [column == value for column, value in equal.items() if value is not None]
        for name, value in self.tags:
            tag = UsageEntry.tags[name].as_string()
            found.append(tag.is_not(None) if value is None else tag == value)
        if self.since is not None:
            found.append(UsageEntry.time >= self.since)
        if self.until is not None:
            found.append(UsageEntry.time < self.until)
        return found

    def query(self) -> dict[str, str | None]:
        """What a cursor is bound to."""
        return {name: str(value) for name, value in vars(self).items()}


def _begin(value: Any) -> Any:
    return _midnight(value, days=0)


def _end(value: Any) -> Any:
    return _midnight(value, days=1)


def _midnight(value: Any, *, days: int) -> Any:
    """UTC's, of a day that is written alone; a time stays. Raises ValueError."""
    if isinstance(value, str) and len(value) > _DAY_LENGTH and "T" in value:
        return value
    try:
        found = datetime.combine(date.fromisoformat(value), time(tzinfo=UTC))
        return found + timedelta(days=days)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("must be a day or a time, as 2030-01-31[T12:00:00Z]") from error


Word = Annotated[str | None, Query(max_length=128, pattern=r"^[\w.-]+$")]
_Since = Annotated[
    AwareDatetime | None,
    BeforeValidator(_begin),
    Query(alias="from", description="From this day (UTC) or time on."),
]
_Until = Annotated[
    AwareDatetime | None,
    BeforeValidator(_end),
    Query(alias="to", description="To the end of this day (UTC), or before this time."),
]
_Tags = Annotated[
    list[Annotated[str, StringConstraints(pattern=_TAG)]],
    Query(max_length=16, description="NAME, or NAME:VALUE; calls that have them all."),
]


def _filters(
    key_id: Word = None,
    service: Word = None,
    model: Word = None,
    tag: _Tags = [],  # noqa: B006  FastAPI copies it
    since: _Since = None,
    until: _Until = None,
) -> Filters:
    pairs = (each.partition(":") for each in tag)
    tags = tuple((name, value or None) for name, _, value in pairs)
    return Filters(None, key_id, service, model, tags, since, until)


FiltersDep = Annotated[Filters, Depends(_filters)]
