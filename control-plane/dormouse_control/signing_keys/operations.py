"""Rules of signing keys: replaced when they are old, and whenever an administrator wants it.

The keys are files (`keys.py`), because processes without the database read them too.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from dormouse_control import keys
from dormouse_control.audit.record import Actor, record
from dormouse_control.errors import LimitReached
from dormouse_control.keys import PURPOSES, Purpose

MOST_RETIRED = 50


def rotate(session: Session, folder: Path, *, actor: Actor, now: datetime) -> None:
    """Raises `LimitReached` if there are many already that still have to be believed."""
    keys.forget_retired(folder, now=now.timestamp())
    retired = [each for each in keys.known(folder) if each.state == "retired"]
    if len(retired) + len(PURPOSES) > MOST_RETIRED:
        raise LimitReached("The keys were replaced too often within the last hour.")
    _rotate(session, folder, PURPOSES, actor=actor, now=now)


def tend(session: Session, folder: Path, *, days: int, now: datetime) -> None:
    """What has to be done from time to time: replace what is old, forget what has no use."""
    keys.forget_retired(folder, now=now.timestamp())
    old = (now - timedelta(days=days)).timestamp()
    due: list[Purpose] = [
        each.purpose for each in keys.known(folder) if each.state == "current" and each.since <= old
    ]
    if due:
        _rotate(session, folder, due, actor=Actor(), now=now)


def _rotate(
    session: Session,
    folder: Path,
    purposes: Sequence[Purpose],
    *,
    actor: Actor,
    now: datetime,
) -> None:
    # Recorded first: a record of what then failed is rolled back, a rotation could not be.
    record(
        session,
        "signing_key.rotate",
        actor=actor,
        subject=None,
        now=now,
        details={"purposes": list(purposes)},
    )
    keys.rotate(folder, purposes, now=now.timestamp())
