"""Books usage events: each call once, however often it is reported, and none thrown away."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any  # an event is JSON until it is checked

import structlog
from prometheus_client import Counter
from sqlalchemy import select
from sqlalchemy.orm import Session

from dormouse.catalog import Catalog, Service
from dormouse.events import EventError, UsageEvent, from_cloudevent
from dormouse_control.db import insert_new
from dormouse_control.identity import apikeys
from dormouse_control.identity.models import User, UserStatus
from dormouse_control.usage import budgets
from dormouse_control.usage.models import RejectedEvent, UsageEntry
from dormouse_control.usage.operations import NANO, NOBODYS

log = structlog.get_logger(__name__)

EVENTS = Counter(
    "dormouse_usage_events", "Usage events received, by what became of them.", ["result"]
)

_LARGEST = 2**63 - 1
_LONGEST = {
    "request_id": 128,
    "credential": 64,
    "service": 64,
    "model": 128,
    "version": 128,
    "endpoint": 64,
}
_LONGEST_END_USER = 512


@dataclass(frozen=True)
class Rejected:
    id: str | None
    reason: str


@dataclass(frozen=True)
class Booked:
    accepted: int
    duplicates: int
    rejected: Sequence[Rejected]


def book(session: Session, documents: Sequence[Any], *, catalog: Catalog, now: datetime) -> Booked:
    """Read, price and store a batch. What cannot be read is stored as it came."""
    rows: dict[str, dict[str, Any]] = {}
    rejected: list[tuple[Any, Rejected]] = []
    readable = 0
    users = _known_users(session, documents)
    for document in documents:
        try:
            row = _row(document, catalog=catalog, users=users, now=now)
        except EventError as error:
            rejected.append((document, Rejected(_id(document), str(error)[:500])))
        else:
            rows.setdefault(row["request_id"], row)
            readable += 1
    watched = budgets.watch(session, rows.values(), now=now)
    new = insert_new(
        session,
        UsageEntry,
        list(rows.values()),
        unique=(UsageEntry.request_id,),
        returning=UsageEntry.request_id,
    )
    _keep(session, rejected, now=now)
    _touch_keys(session, [rows[id] for id in new], now=now)
    budgets.announce(session, watched, now=now)
    return Booked(len(new), readable - len(new), [reason for _, reason in rejected])


def count(booked: Booked) -> None:
    """To be called after the commit."""
    EVENTS.labels("accepted").inc(booked.accepted)
    EVENTS.labels("duplicate").inc(booked.duplicates)
    EVENTS.labels("rejected").inc(len(booked.rejected))
    for found in booked.rejected:
        log.warning("usage_event_rejected", event_id=found.id, reason=found.reason)


def cost_nano(service: Service, *, prompt_tokens: int, completion_tokens: int) -> int:
    """In billionths of the currency, rounded half up, once."""
    prices = service.spec.prices
    thousandfold = prompt_tokens * int(prices.per_1000_prompt_tokens * NANO)
    thousandfold += completion_tokens * int(prices.per_1000_completion_tokens * NANO)
    return (thousandfold + 500) // 1000


def _known_users(session: Session, documents: Sequence[Any]) -> dict[str, UserStatus]:
    """Nobody of them is erased before this is committed."""
    named = {
        document["subject"]
        for document in documents
        if isinstance(document, dict) and _is_short_text(document.get("subject"), 30)
    }
    wanted = select(User.id, User.status).where(User.id.in_(sorted(named))).order_by(User.id)
    rows = session.execute(wanted.with_for_update(read=True, key_share=True))
    return {row.id: row.status for row in rows}


def _row(
    document: Any, *, catalog: Catalog, users: Mapping[str, UserStatus], now: datetime
) -> dict[str, Any]:
    event = from_cloudevent(document)
    for name, longest in _LONGEST.items():
        value = getattr(event, name)
        if value is not None and len(value) > longest:
            raise EventError(f"{name} has more than {longest} characters")
    if event.user not in users:
        raise EventError("user is unknown")
    service = catalog.services.get(event.service)
    if service is None:
        raise EventError("service is unknown")
    cost = cost_nano(
        service, prompt_tokens=event.prompt_tokens, completion_tokens=event.completion_tokens
    )
    if cost > _LARGEST:
        raise EventError("the cost is too large to be stored")
    # Who is erased still has to be accounted for, without anything personal.
    nobodys = {"end_user": None, "credential": NOBODYS}
    erased = nobodys if users[event.user] is UserStatus.ERASED else {}
    return _columns(event) | erased | {"cost_nano": cost, "received_at": now}


def _columns(event: UsageEvent) -> dict[str, Any]:
    return {
        "request_id": event.request_id,
        "time": _time(event.time),
        "user_id": event.user,
        "credential": event.credential,
        "service": event.service,
        "model": event.model,
        "version": event.version,
        "endpoint": event.endpoint,
        "outcome": event.outcome,
        "prompt_tokens": event.prompt_tokens,
        "completion_tokens": event.completion_tokens,
        "duration_ms": event.duration_ms,
        "queue_ms": event.queue_ms,
        "load_ms": event.load_ms,
        "cold_start_ms": event.cold_start_ms,
        "end_user": event.end_user[:_LONGEST_END_USER] if event.end_user else None,
    }


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError as error:
        raise EventError("time is out of range") from error


def _is_short_text(value: object, longest: int) -> bool:
    """Whether every database can store it: no NUL, no half of a surrogate pair, not too long."""
    if not isinstance(value, str) or len(value) > longest or "\x00" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _id(document: Any) -> str | None:
    found = document.get("id") if isinstance(document, dict) else None
    return found if _is_short_text(found, 128) else None


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


def _touch_keys(session: Session, rows: Sequence[Mapping[str, Any]], *, now: datetime) -> None:
    latest: dict[str, datetime] = {}
    for row in rows:
        latest[row["credential"]] = max(row["time"], latest.get(row["credential"], row["time"]))
    for credential, time in sorted(latest.items()):
        if credential.startswith("key_"):
            apikeys.touch(session, key_id=credential, now=min(time, now))
