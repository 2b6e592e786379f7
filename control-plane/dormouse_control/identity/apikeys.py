"""API keys: `dm_` and 32 random bytes in base62. Only their SHA-256 is stored.

A fast hash is right here: nobody can guess 256 random bits, and it is looked up with every call.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast  # columns of a key

from sqlalchemy import Table, bindparam, func, select, update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.budgets import ending as budgets
from dormouse_control.entitlements.operations import rights
from dormouse_control.errors import LimitReached, NotAuthenticated, NotFound
from dormouse_control.identity import addresses, keys_limits, revocations
from dormouse_control.identity.keys_limits import Offer, Owner
from dormouse_control.identity.keys_schemas import KeyChange, KeyCreate
from dormouse_control.identity.models import ApiKey, RevocationKind, User, UserStatus
from dormouse_control.identity.reach import Reach, reach
from dormouse_control.naming import new_id
from dormouse_control.settings import Settings
from dormouse_control.tiers.models import Tier

PREFIX = "dm_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHARACTERS = 43
_SHOWN = len(PREFIX) + 6
_TOUCHED_EVERY = timedelta(minutes=1)


def create(
    session: Session,
    wanted: KeyCreate,
    *,
    actor: Actor,
    user_id: str,
    offer: Offer,
    settings: Settings,
    now: datetime,
) -> tuple[ApiKey, str]:
    """The stored row, and the key that is shown this once. Raises `LimitReached`."""
    tier = _locked_tier(session, user_id)
    living = select(func.count()).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    if (session.scalar(living) or 0) >= tier.most_keys:
        raise LimitReached(f"You may have {tier.most_keys} keys. Revoke one first.")
    owner = _owner(session, user_id, tier, settings=settings, now=now)
    limits = keys_limits.columns(wanted, owner=owner, offer=offer, now=now)
    key = _new_key()
    row = ApiKey(
        id=new_id("key"),
        user_id=user_id,
        name=wanted.name,
        prefix=key[:_SHOWN],
        sha256=digest(key),
        created_at=now,
        **limits,
    )
    keys_limits.check_reach(row, offer=offer)
    session.add(row)
    session.flush()
    record(session, "key.create", actor=actor, subject=row.id, now=now, details=_shown(limits))
    return row, key


def change(
    session: Session,
    wanted: KeyChange,
    *,
    actor: Actor,
    user_id: str,
    key_id: str,
    offer: Offer,
    settings: Settings,
    now: datetime,
) -> ApiKey:
    """Raises `NotFound` for another user's key as for none."""
    tier = _locked_tier(session, user_id)
    mine = (ApiKey.id == key_id, ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    row = session.scalar(select(ApiKey).where(*mine).with_for_update())
    if row is None:
        raise NotFound("You have no such key.")
    owner = _owner(session, user_id, tier, settings=settings, now=now)
    changed = keys_limits.columns(wanted, owner=owner, offer=offer, now=now)
    cuts = keys_limits.narrows(row, changed)
    if "name" in wanted.model_fields_set:
        row.name = wanted.name
    for name, value in changed.items():
        setattr(row, name, value)
    if changed.keys() & {"services", "models", "endpoints"}:
        keys_limits.check_reach(row, offer=offer)
    session.flush()
    record(session, "key.change", actor=actor, subject=key_id, now=now, details=_shown(changed))
    revocations.record(session, RevocationKind.KEY, key_id, now=now, cuts=cuts)
    return row


def list_keys(
    reading: Session, *, user_id: str, after: str | None, limit: int
) -> tuple[Sequence[ApiKey], str | None]:
    """Newest first, without revoked ones; and where the next page begins."""
    wanted = select(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    if after is not None:
        wanted = wanted.where(ApiKey.id < after)
    rows = reading.scalars(wanted.order_by(ApiKey.id.desc()).limit(limit + 1)).all()
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def revoke(session: Session, *, actor: Actor, user_id: str, key_id: str, now: datetime) -> None:
    """Raises `NotFound` for another user's key as for none."""
    wanted = (ApiKey.id == key_id, ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    revoked = session.scalar(
        update(ApiKey).where(*wanted).values(revoked_at=now).returning(ApiKey.id)
    )
    if revoked is None:
        raise NotFound("You have no such key.")
    _note_revoked(session, key_id, actor=actor, now=now)


def revoke_all(session: Session, *, actor: Actor, user_id: str, now: datetime) -> None:
    """Every key of the user."""
    wanted = (ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    revoked = update(ApiKey).where(*wanted).values(revoked_at=now).returning(ApiKey.id)
    for key_id in sorted(session.scalars(revoked)):
        _note_revoked(session, key_id, actor=actor, now=now)


def _note_revoked(session: Session, key_id: str, *, actor: Actor, now: datetime) -> None:
    budgets.forget(session, [key_id])
    record(session, "key.revoke", actor=actor, subject=key_id, now=now)
    revocations.record(session, RevocationKind.KEY, key_id, now=now, cuts=True)


def is_valid(key: ApiKey, *, address: str | None, now: datetime) -> bool:
    """Whether the key is good for a call from `address` at this moment."""
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        return False
    return key.ip_ranges is None or addresses.contains(key.ip_ranges, address)


def reach_of(key: ApiKey) -> Reach:
    return reach(key.services, key.models, key.endpoints)


def touch(session: Session, *, key_id: str, now: datetime) -> None:
    """Remember that it was used; rough, so that not every call writes."""
    stale = ApiKey.last_used_at.is_(None) | (ApiKey.last_used_at < now - _TOUCHED_EVERY)
    session.execute(update(ApiKey).where(ApiKey.id == key_id, stale).values(last_used_at=now))


def touch_all(session: Session, used: Mapping[str, datetime]) -> None:
    """The same for many, each with when it was used."""
    if not used:
        return
    key = cast(Table, ApiKey.__table__).c
    stale = key.last_used_at.is_(None) | (key.last_used_at < bindparam("stale"))
    statement = update(cast(Table, ApiKey.__table__)).where(key.id == bindparam("key"), stale)
    rows = [
        {"key": id, "used": time, "stale": time - _TOUCHED_EVERY}
        for id, time in sorted(used.items())
    ]
    session.execute(statement.values(last_used_at=bindparam("used")), rows)


def needs_touch(used_at: datetime | None, *, now: datetime) -> bool:
    return used_at is None or used_at < now - _TOUCHED_EVERY


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _locked_tier(session: Session, user_id: str) -> Tier:
    """Their tier; until the end of the transaction nobody else counts or changes their keys.

    SQLite has one writer at a time anyway.
    """
    wanted = select(User).where(User.id == user_id, User.status == UserStatus.ACTIVE)
    user = session.scalar(wanted.with_for_update(key_share=True))
    if user is None:
        raise NotAuthenticated("The account is not active any more.")
    return session.get_one(Tier, user.tier)


def _owner(
    session: Session, user_id: str, tier: Tier, *, settings: Settings, now: datetime
) -> Owner:
    return Owner(
        rights=rights(session, user_id=user_id, now=now),
        requests_per_minute=tier.requests_per_minute or settings.requests_per_minute,
        tokens_per_minute=tier.tokens_per_minute or settings.tokens_per_minute,
        concurrent_calls=tier.concurrent_calls or settings.concurrent_calls,
        monthly_budget_nano=tier.monthly_budget_nano,
    )


def _shown(limits: dict[str, Any]) -> dict[str, list[str]]:
    """For the audit log: what was set, without addresses."""
    rightful = {name: limits[name] or [] for name in _AUDITED & limits.keys()}
    return {"set": sorted(limits)} | rightful


_AUDITED = {"services", "models", "endpoints"}


def _new_key() -> str:
    number = int.from_bytes(secrets.token_bytes(32), "big")
    characters = []
    for _ in range(_CHARACTERS):
        number, rest = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[rest])
    return PREFIX + "".join(reversed(characters))
