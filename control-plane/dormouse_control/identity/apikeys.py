"""API keys: `dm_` and 32 random bytes in base62. Only their SHA-256 is stored.

A fast hash is right here: nobody can guess 256 random bits, and it is looked up with every call.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dormouse_control.errors import NotFound
from dormouse_control.identity import revocations
from dormouse_control.identity.models import ApiKey, RevocationKind
from dormouse_control.naming import new_id

PREFIX = "dm_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHARACTERS = 43
_SHOWN = len(PREFIX) + 6
_TOUCHED_EVERY = timedelta(minutes=1)


def create(session: Session, *, user_id: str, name: str, now: datetime) -> tuple[ApiKey, str]:
    """The stored row, and the key that is shown this once."""
    key = _new_key()
    row = ApiKey(
        id=new_id("key"),
        user_id=user_id,
        name=name,
        prefix=key[:_SHOWN],
        sha256=digest(key),
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row, key


def list_keys(
    reading: Session, *, user_id: str, after: str | None, limit: int
) -> tuple[Sequence[ApiKey], str | None]:
    """Newest first, without revoked ones; and where the next page begins."""
    wanted = select(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    if after is not None:
        wanted = wanted.where(ApiKey.id < after)
    rows = reading.scalars(wanted.order_by(ApiKey.id.desc()).limit(limit + 1)).all()
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def revoke(session: Session, *, user_id: str, key_id: str, now: datetime) -> None:
    """Raises `NotFound` for another user's key as for none."""
    wanted = (ApiKey.id == key_id, ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    revoked = session.scalar(
        update(ApiKey).where(*wanted).values(revoked_at=now).returning(ApiKey.id)
    )
    if revoked is None:
        raise NotFound("You have no such key.")
    revocations.record(session, RevocationKind.KEY, key_id, now=now)


def touch(session: Session, *, key_id: str, now: datetime) -> None:
    """Remember that it was used; rough, so that not every call writes."""
    stale = ApiKey.last_used_at.is_(None) | (ApiKey.last_used_at < now - _TOUCHED_EVERY)
    session.execute(update(ApiKey).where(ApiKey.id == key_id, stale).values(last_used_at=now))


def needs_touch(used_at: datetime | None, *, now: datetime) -> bool:
    return used_at is None or used_at < now - _TOUCHED_EVERY


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _new_key() -> str:
    number = int.from_bytes(secrets.token_bytes(32), "big")
    characters = []
    for _ in range(_CHARACTERS):
        number, rest = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[rest])
    return PREFIX + "".join(reversed(characters))
