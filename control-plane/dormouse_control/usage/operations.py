"""What a user's calls took and cost."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from dormouse_control.usage.models import UsageEntry
from dormouse_control.usage.schemas import Totals, UsageRead

NANO = 1_000_000_000
NOBODYS = "erased"
"""In place of the credential, in what is left of an erased user's calls."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def page(
    reading: Session, *, user_id: str, after: str | None, limit: int
) -> tuple[Sequence[UsageEntry], str | None]:
    """Newest first, and where the next page begins."""
    wanted = select(UsageEntry).where(UsageEntry.user_id == user_id)
    if after is not None:
        wanted = wanted.where(tuple_(UsageEntry.time, UsageEntry.id) < _position(after))
    newest = wanted.order_by(UsageEntry.time.desc(), UsageEntry.id.desc())
    rows = reading.scalars(newest.limit(limit + 1)).all()
    return rows[:limit], _cursor(rows[limit - 1]) if len(rows) > limit else None


def totals(reading: Session, *, user_id: str, since: datetime | None = None) -> Totals:
    wanted = select(
        func.count(),
        func.coalesce(func.sum(UsageEntry.prompt_tokens), 0),
        func.coalesce(func.sum(UsageEntry.completion_tokens), 0),
        func.coalesce(func.sum(UsageEntry.cost_nano), 0),
    ).where(UsageEntry.user_id == user_id)
    if since is not None:
        wanted = wanted.where(UsageEntry.time >= since)
    requests, prompt, completion, cost = reading.execute(wanted).one()
    return Totals(
        requests=requests,
        prompt_tokens=int(prompt),
        completion_tokens=int(completion),
        cost=int(cost) / NANO,
    )


def read(entry: UsageEntry) -> UsageRead:
    return UsageRead(
        request_id=entry.request_id,
        time=entry.time,
        service=entry.service,
        model=entry.model,
        endpoint=entry.endpoint,
        outcome=entry.outcome,
        prompt_tokens=entry.prompt_tokens,
        completion_tokens=entry.completion_tokens,
        cold_start_ms=entry.cold_start_ms,
        duration_ms=entry.duration_ms,
        cost=entry.cost_nano / NANO,
        key_id=entry.credential if entry.credential.startswith("key_") else None,
    )


def _cursor(entry: UsageEntry) -> str:
    return f"{(entry.time - _EPOCH) // _MICROSECOND}.{entry.id}"


def _position(cursor: str) -> tuple[datetime, int]:
    microseconds, id = (int(part) for part in cursor.split("."))
    return _EPOCH + timedelta(microseconds=microseconds), id
