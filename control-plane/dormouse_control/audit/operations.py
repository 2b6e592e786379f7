"""Reads the audit log: pages of it for administrators, and the proof that nobody changed it."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any  # what stands in a row that somebody may have changed

from sqlalchemy import ColumnElement, String, select, type_coerce
from sqlalchemy.orm import Session

from dormouse_control.audit.models import AuditEntry, Outcome
from dormouse_control.audit.record import FIRST, chained

_AT_ONCE = 500


@dataclass(frozen=True)
class Filters:
    """`action` is a beginning: `key` finds `key.create` and `key.revoke`."""

    actor: str | None = None
    subject: str | None = None
    action: str | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None

    def query(self) -> dict[str, str | None]:
        """For the cursor, which is good for these filters only."""
        return {name: str(value) for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Head:
    """An entry's number and hash. Noted elsewhere it proves that all up to it is still there."""

    seq: int
    hash: str


@dataclass(frozen=True)
class Verified:
    """`problem` is None if every entry is as it was written."""

    entries: int
    last: Head
    problem: str | None


def search(
    reading: Session, filters: Filters, *, before: int | None, limit: int
) -> tuple[Sequence[AuditEntry], int | None]:
    """Newest first, and the number of the last one if there are more."""
    wanted = select(AuditEntry).where(*_conditions(filters)).order_by(AuditEntry.seq.desc())
    if before is not None:
        wanted = wanted.where(AuditEntry.seq < before)
    rows = reading.scalars(wanted.limit(limit + 1)).all()
    return rows[:limit], rows[limit - 1].seq if len(rows) > limit else None


def head(reading: Session) -> Head:
    """The newest entry; 0 and zeros before the first."""
    newest = select(AuditEntry.seq, AuditEntry.hash).order_by(AuditEntry.seq.desc()).limit(1)
    found = reading.execute(newest).one_or_none()
    return Head(found.seq, found.hash) if found else Head(0, FIRST)


def verify(reading: Session, *, expect: Head | None = None) -> Verified:
    """Follows the chain from the first entry, and tells the first thing that is wrong.

    Only `expect`, a head noted earlier, shows that entries at the end were taken away.
    """
    last = Head(0, FIRST)
    problem = _unexpected(last, expect)
    count = 0
    with closing(_rows(reading)) as rows:
        for row in rows:
            problem = problem or _broken(row, last)
            if problem is not None:
                break
            count, last = count + 1, Head(row["seq"], row["hash"])
            problem = _unexpected(last, expect)
    if problem is None and expect is not None and expect.seq > last.seq:
        problem = f"entry {last.seq + 1} is missing, and so is all up to entry {expect.seq}"
    return Verified(count, last, problem)


def _rows(reading: Session) -> Generator[dict[str, Any], None, None]:
    """As they stand in the table, so that a value which was spoilt can be read too."""
    columns = [
        type_coerce(column, String).label(column.key)
        for column in AuditEntry.__table__.columns
        if column.key != "seq"
    ]
    wanted = select(AuditEntry.seq, *columns).order_by(AuditEntry.seq)
    with reading.execute(wanted.execution_options(yield_per=_AT_ONCE)) as streamed:
        for row in streamed.mappings():
            yield dict(row)


def _broken(row: dict[str, Any], last: Head) -> str | None:
    if row["seq"] != last.seq + 1:
        return f"entry {last.seq + 1} is missing"
    if row["previous"] != last.hash:
        return f"entry {row['seq']} does not follow the one before it"
    if _hash_of(row) != row["hash"]:
        return f"entry {row['seq']} was changed"
    return None


def _hash_of(row: dict[str, Any]) -> str | None:
    """None if no entry could hold these values."""
    time = row["time"]
    try:
        # SQLite keeps the text that `db.UtcDateTime` wrote, PostgreSQL a time.
        time = time if isinstance(time, datetime) else datetime.fromisoformat(f"{time}+00:00")
        return chained({**row, "time": time})
    except (TypeError, ValueError):
        return None


def _unexpected(found: Head, expect: Head | None) -> str | None:
    if expect is None or expect.seq != found.seq or expect.hash == found.hash:
        return None
    return f"entry {found.seq} is not the one that was noted"


def _conditions(filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.actor is not None:
        yield AuditEntry.actor == filters.actor
    if filters.subject is not None:
        yield AuditEntry.subject == filters.subject
    if filters.action is not None:
        yield AuditEntry.action.startswith(filters.action, autoescape=True)
    if filters.outcome is not None:
        yield AuditEntry.outcome == filters.outcome
    if filters.since is not None:
        yield AuditEntry.time >= filters.since
    if filters.until is not None:
        yield AuditEntry.time < filters.until
