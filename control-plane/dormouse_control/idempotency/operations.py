"""Rules of repeated requests: the same key gives the same reply, and the change happens once.

The reply is stored in the transaction of the change itself, as its last statement: of several
requests with one key only one can commit, and the others are given what that one was told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from dormouse_control.db import insert_new
from dormouse_control.errors import IdempotencyInProgress, IdempotencyKeyReused
from dormouse_control.idempotency.models import StoredReply
from dormouse_control.sealing import Sealing

KEPT = timedelta(hours=24)
_WAIT = "5s"
_PURPOSE = "stored reply"


@dataclass(frozen=True)
class Claim:
    """Whose key, for which route, and the digest of what was asked."""

    owner: str
    route: str
    key: str
    digest: str


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str]


def find(reading: Session, claim: Claim, *, sealing: Sealing, now: datetime) -> Reply | None:
    """What was answered. Raises `IdempotencyKeyReused` if something else was asked."""
    found = reading.scalar(
        select(StoredReply).where(*_of(claim), StoredReply.created_at > _old(now))
    )
    if found is None:
        return None
    if found.digest != claim.digest:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was sent before with another request. Use a new one.",
            param="idempotency-key",
        )
    if found.status is None or found.body_sealed is None:
        raise in_progress()
    body = sealing.unseal(_PURPOSE, found.body_sealed)
    return Reply(found.status, body, found.headers or {})


def store(session: Session, claim: Claim, reply: Reply, *, sealing: Sealing, now: datetime) -> bool:
    """False if another request with this key came first: then this one must not be committed."""
    if session.get_bind().dialect.name == "postgresql":
        # The other one has to commit only; who waits longer should ask again.
        session.execute(text(f"SET LOCAL lock_timeout = '{_WAIT}'"))
    row = {
        "owner": claim.owner,
        "route": claim.route,
        "key": claim.key,
        "digest": claim.digest,
        "status": reply.status,
        "body_sealed": sealing.seal(_PURPOSE, reply.body),
        "headers": dict(reply.headers) or None,
        "created_at": now,
    }
    unique = (StoredReply.owner, StoredReply.route, StoredReply.key)
    try:
        session.execute(delete(StoredReply).where(*_of(claim), StoredReply.created_at <= _old(now)))
        stored = insert_new(session, StoredReply, [row], unique=unique, returning=StoredReply.key)
    except OperationalError as error:
        if _waited_too_long(error):
            raise in_progress() from error
        raise
    return bool(stored)


def in_progress() -> IdempotencyInProgress:
    return IdempotencyInProgress(
        "A request with this Idempotency-Key is still being answered. Try again in a second.",
        param="idempotency-key",
    )


def prune(session: Session, *, now: datetime) -> None:
    session.execute(delete(StoredReply).where(StoredReply.created_at <= _old(now)))


def _waited_too_long(error: OperationalError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    return state == "55P03" or getattr(error.orig, "sqlite_errorname", None) == "SQLITE_BUSY"


def _of(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        StoredReply.owner == claim.owner,
        StoredReply.route == claim.route,
        StoredReply.key == claim.key,
    )


def _old(now: datetime) -> datetime:
    return now - KEPT
