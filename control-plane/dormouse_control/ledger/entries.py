"""Adds entries to the ledger. Each has a key of its own, which the database takes once."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.orm import Session

from dormouse_control import bulk
from dormouse_control.ledger.models import EntryKind, LedgerEntry

EXPIRED = "expired"
"""In place of a step: what a lease that ended had left."""

_COLUMNS = (
    "at",
    "kind",
    "key",
    "lease_id",
    "request_id",
    "user_id",
    "groups",
    "amount_nano",
)


class Entry(NamedTuple):
    """A row, in the order of the columns."""

    at: datetime
    kind: str
    key: str
    lease_id: str | None
    request_id: str | None
    user_id: str
    groups: Sequence[str] | None
    amount_nano: int


def step_key(kind: EntryKind, lease: str, step: int | str) -> str:
    return f"{kind.value}:{lease}:{step}"


def of_step(
    kind: EntryKind, lease: str, step: int | str, *, user_id: str, amount_nano: int, at: datetime
) -> Entry:
    """What a lease took or gave back in one step."""
    key = step_key(kind, lease, step)
    return Entry(at, kind.value, key, lease, None, user_id, None, amount_nano)


def charge(
    request_id: str,
    *,
    user_id: str,
    lease: str | None,
    groups: Sequence[str] | None,
    amount_nano: int,
    at: datetime,
) -> Entry:
    key = f"charge:{request_id}"
    return Entry(at, EntryKind.CHARGE.value, key, lease, request_id, user_id, groups, amount_nano)


def write(session: Session, entries: Sequence[Entry]) -> None:
    """Raises IntegrityError if one of them is there already."""
    bulk.insert(session, LedgerEntry, _COLUMNS, entries)
