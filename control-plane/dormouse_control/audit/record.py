"""Writes the audit log: in the transaction of the change itself, or not at all.

Each entry's hash is SHA-256 over the hash before it and the entry's canonical JSON, so no entry can
be changed, taken out or put in later without every hash after it being wrong.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any  # the values of a row

from sqlalchemy import select
from sqlalchemy.orm import Session

from dormouse_control.audit.models import AuditEntry, Outcome
from dormouse_control.db import NUMBERED, take_turn

Detail = str | int | bool | None | list[str]

FIRST = "0" * 64
"""What stands before the first entry."""

_COVERED = (
    "seq",
    "time",
    "actor",
    "credential",
    "address",
    "request_id",
    "action",
    "outcome",
    "subject",
    "details",
)


@dataclass(frozen=True)
class Actor:
    """Who acts, with which credential, from where. All None: the platform itself."""

    id: str | None = None
    credential: str | None = None
    address: str | None = None
    request_id: str | None = None


def record(
    session: Session,
    action: str,
    *,
    actor: Actor,
    subject: str | None,
    now: datetime,
    outcome: Outcome = Outcome.DONE,
    details: Mapping[str, Detail] | None = None,
) -> None:
    """`action` is noun.verb, `subject` an id or name. Details hold neither secrets nor addresses
    of mail: whatever stands here stays for ever.
    """
    take_turn(session, NUMBERED)  # two must not follow the same entry
    last = session.execute(
        select(AuditEntry.seq, AuditEntry.hash).order_by(AuditEntry.seq.desc()).limit(1)
    ).one_or_none()
    values = {
        "seq": last.seq + 1 if last else 1,
        "time": now,
        "actor": actor.id,
        "credential": actor.credential,
        "address": actor.address,
        "request_id": actor.request_id,
        "action": action,
        "outcome": outcome,
        "subject": subject,
        # All ASCII: nothing in it can steer a terminal or turn a line around.
        "details": json.dumps(details or {}, sort_keys=True),
        "previous": last.hash if last else FIRST,
    }
    session.add(AuditEntry(**values, hash=chained(values)))
    session.flush()


def chained(entry: Mapping[str, Any]) -> str:
    """What the `hash` of an entry with these values must be."""
    content = {name: entry[name] for name in _COVERED}
    content["time"] = entry["time"].astimezone(UTC).isoformat(timespec="microseconds")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{entry['previous']}\n{canonical}".encode()).hexdigest()
