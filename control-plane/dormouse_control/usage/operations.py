"""What calls took and cost."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any  # rows of sums

from sqlalchemy import Row, func, select, tuple_
from sqlalchemy.orm import Session

from dormouse.prices import NANO
from dormouse_control.usage.filters import Filters
from dormouse_control.usage.models import UsageEntry
from dormouse_control.usage.schemas import Totals, UsageGroup, UserUsageRead

NOBODYS = "erased"
"""In place of the credential, in what is left of an erased user's calls."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def page(
    reading: Session, filters: Filters, *, after: str | None, limit: int
) -> tuple[Sequence[UsageEntry], str | None]:
    """Newest first, and where the next page begins."""
    wanted = select(UsageEntry).where(*filters.conditions())
    if after is not None:
        wanted = wanted.where(tuple_(UsageEntry.time, UsageEntry.id) < _position(after))
    newest = wanted.order_by(UsageEntry.time.desc(), UsageEntry.id.desc())
    rows = reading.scalars(newest.limit(limit + 1)).all()
    return rows[:limit], _cursor(rows[limit - 1]) if len(rows) > limit else None


def totals(reading: Session, filters: Filters) -> Totals:
    wanted = select(
        func.count(),
        func.coalesce(func.sum(UsageEntry.prompt_tokens), 0),
        func.coalesce(func.sum(UsageEntry.completion_tokens), 0),
        func.coalesce(func.sum(UsageEntry.cost_nano), 0),
    ).where(*filters.conditions())
    requests, prompt, completion, cost = reading.execute(wanted).one()
    return Totals(
        requests=requests,
        prompt_tokens=int(prompt),
        completion_tokens=int(completion),
        cost=int(cost) / NANO,
    )


def read(entry: UsageEntry) -> UserUsageRead:
    return UserUsageRead(
        request_id=entry.request_id,
        time=entry.time,
        user=entry.user_id,
        service=entry.service,
        model=entry.model,
        endpoint=entry.endpoint,
        outcome=entry.outcome,
        estimated=entry.estimated,
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        audio_ms=entry.audio_ms,
        images=entry.images,
        queue_ms=entry.queue_ms,
        cold_start_ms=entry.cold_start_ms,
        duration_ms=entry.duration_ms,
        load_ms=entry.load_ms,
        compute_ms=entry.compute_ms,
        gpus=entry.gpus,
        idle_ms=entry.idle_ms,
        cost=entry.cost_nano / NANO,
        key_id=entry.credential if entry.credential.startswith("key_") else None,
        tags=entry.tags or {},
    )


def read_group(row: Row[Any], by: Sequence[str]) -> UsageGroup:
    found = dict(row._mapping)
    group = {name: found.pop(name) for name in by}
    cost = int(found.pop("cost_nano")) / NANO
    # PostgreSQL's sums are decimals.
    return UsageGroup(group=group, cost=cost, **{name: int(sum) for name, sum in found.items()})


def _cursor(entry: UsageEntry) -> str:
    return f"{(entry.time - _EPOCH) // _MICROSECOND}.{entry.id}"


def _position(cursor: str) -> tuple[datetime, int]:
    microseconds, id = (int(part) for part in cursor.split("."))
    return _EPOCH + timedelta(microseconds=microseconds), id
