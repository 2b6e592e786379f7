"""Books usage events: each call once, however often it is reported, and none thrown away."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any, NamedTuple  # an event is JSON until it is checked

import structlog
from prometheus_client import Counter
from sqlalchemy import select
from sqlalchemy.orm import Session

from dormouse.catalog import Catalog
from dormouse.events import EventError
from dormouse_control import budgets, bulk
from dormouse_control.db import insert_new
from dormouse_control.groups.membership import groups_of
from dormouse_control.groups.models import GroupMember
from dormouse_control.identity import apikeys
from dormouse_control.identity.models import ApiKey, User, UserStatus
from dormouse_control.leases import charging
from dormouse_control.leases.charging import Payer
from dormouse_control.ledger import entries, pricing, spending
from dormouse_control.ledger.spending import Share
from dormouse_control.usage.models import RejectedEvent, UsageEntry
from dormouse_control.usage.rows import COLUMNS, Call, Reader

log = structlog.get_logger(__name__)

EVENTS = Counter(
    "dormouse_usage_events", "Usage events received, by what became of them.", ["result"]
)


@dataclass(frozen=True)
class Rejected:
    id: str | None
    reason: str


class _Key(NamedTuple):
    tags: Mapping[str, str] | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class Booked:
    accepted: int
    duplicates: int
    rejected: Sequence[Rejected]


def book(session: Session, documents: Sequence[Any], *, catalog: Catalog, now: datetime) -> Booked:
    """Read, price and store a batch. What cannot be read is stored as it came."""
    rows: dict[str, Call] = {}
    rejected: list[tuple[Any, Rejected]] = []
    readable = 0
    users = _known_users(session, _named(documents, "subject"))
    keys = _keys(session, documents)
    tags = {key: found.tags for key, found in keys.items() if found.tags}
    reader = Reader(catalog, cache(partial(pricing.last, session)), users, tags, now)
    for document in documents:
        try:
            row = reader.row(document)
        except EventError as error:
            rejected.append((document, Rejected(_id(document), _reason(error))))
        else:
            rows.setdefault(row.request_id, row)
            readable += 1
    watched = budgets.watch(session, _callers(rows.values()), now=now)
    pricing.keep(session, reader.used.values())
    values = [rows[id].values for id in sorted(rows)]
    new = bulk.insert_new(session, UsageEntry, COLUMNS, values, unique="request_id")
    _charge(session, [rows[id] for id in sorted(new)])
    _keep(session, rejected, now=now)
    _touch_keys(session, [rows[id] for id in new], keys)
    budgets.announce(session, watched, now=now)
    return Booked(len(new), readable - len(new), [reason for _, reason in rejected])


def count(booked: Booked) -> None:
    """To be called after the commit."""
    EVENTS.labels("accepted").inc(booked.accepted)
    EVENTS.labels("duplicate").inc(booked.duplicates)
    EVENTS.labels("rejected").inc(len(booked.rejected))
    for found in booked.rejected:
        log.warning("usage_event_rejected", event_id=found.id, reason=found.reason)


def _charge(session: Session, rows: Sequence[Call]) -> None:
    """Into the ledger, to the leases that pay, and to what users, keys and groups have spent."""
    groups = groups_of(
        session, bulk.among(session, GroupMember.user_id, {row.user_id for row in rows})
    )
    payers = {
        row.request_id: Payer(row.lease, row.user_id, row.credential) for row in rows if row.lease
    }
    known = charging.known(session, set(payers.values()))
    leases = {id: payer.lease for id, payer in payers.items() if payer in known}
    charges = [
        entries.charge(
            row.request_id,
            user_id=row.user_id,
            lease=leases.get(row.request_id),
            groups=groups.get(row.user_id),
            amount_nano=row.nano,
            at=row.at,
        )
        for row in rows
    ]
    entries.write(session, charges)
    charging.charge(
        session, [(leases[row.request_id], row.nano) for row in rows if row.request_id in leases]
    )
    spent: dict[Share, int] = defaultdict(int)
    for row in rows:
        for share in _shares(row, groups.get(row.user_id, ())):
            spent[share] += row.nano
    spending.add(session, spent)


def _shares(row: Call, groups: Collection[str]) -> Iterator[Share]:
    day = spending.day_of(row.at)
    yield Share("user", row.user_id, day)
    if row.credential.startswith("key_"):
        yield Share("key", row.credential, day)
    for group in groups:
        yield Share("group", group, day)


def _known_users(session: Session, named: Collection[str]) -> dict[str, UserStatus]:
    """Nobody of them is erased before this is committed."""
    wanted = select(User.id, User.status).where(bulk.among(session, User.id, named))
    rows = session.execute(wanted.order_by(User.id).with_for_update(read=True, key_share=True))
    return {row.id: row.status for row in rows}


def _keys(session: Session, documents: Sequence[Any]) -> Mapping[str, _Key]:
    """Tags and last use of every key that is named."""
    data = [document.get("data") for document in documents if isinstance(document, dict)]
    named = bulk.among(session, ApiKey.id, _named(data, "credential"))
    wanted = select(ApiKey.id, ApiKey.tags, ApiKey.last_used_at).where(named)
    return {id: _Key(tags, used) for id, tags, used in session.execute(wanted)}


def _named(documents: Sequence[Any], field: str) -> set[str]:
    """The ids in that field, where there is one."""
    return {
        document[field]
        for document in documents
        if isinstance(document, dict) and _is_short_text(document.get(field), 30)
    }


def _callers(rows: Collection[Call]) -> list[Mapping[str, str]]:
    callers = {(row.user_id, row.credential) for row in rows}
    return [{"user_id": user, "credential": credential} for user, credential in sorted(callers)]


def _is_short_text(value: object, longest: int) -> bool:
    """Whether every database can store it: no NUL, no half of a surrogate pair, not too long."""
    if not isinstance(value, str) or len(value) > longest or "\x00" in value:
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _id(document: Any) -> str | None:
    found = document.get("id") if isinstance(document, dict) else None
    return found if _is_short_text(found, 128) else None


def _reason(error: EventError) -> str:
    """It may name what stands in the event, and that need not be a text that databases take."""
    return str(error).encode("ascii", "backslashreplace").decode().replace("\0", "\\0")[:500]


def _keep(session: Session, rejected: Sequence[tuple[Any, Rejected]], *, now: datetime) -> None:
    rows = {}
    for document, why in rejected:
        text = json.dumps(document)  # ASCII, so every database takes it
        digest = hashlib.sha256(text.encode()).hexdigest()
        rows[digest] = {
            "digest": digest,
            "reason": why.reason,
            "document": text,
            "received_at": now,
        }
    column = RejectedEvent.digest
    insert_new(session, RejectedEvent, list(rows.values()), unique=(column,), returning=column)


def _touch_keys(session: Session, rows: Sequence[Call], keys: Mapping[str, _Key]) -> None:
    latest: dict[str, datetime] = {}
    for row in rows:
        if row.credential in keys:
            latest[row.credential] = max(row.at, latest.get(row.credential, row.at))
    stale = {
        key: time
        for key, time in latest.items()
        if apikeys.needs_touch(keys[key].last_used_at, now=time)
    }
    apikeys.touch_all(session, stale)
