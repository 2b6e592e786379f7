"""Rules of tiers: what their users may, and that every user has one."""

from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dormouse.prices import NANO
from dormouse_control.audit.record import Actor, record
from dormouse_control.budgets.amounts import nano
from dormouse_control.db import insert_new
from dormouse_control.errors import Conflict, NotFound
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind, User
from dormouse_control.identity.operations import FIRST_TIER
from dormouse_control.pages import Cursors
from dormouse_control.tiers.models import Tier
from dormouse_control.tiers.schemas import TierRead, TierWrite


def list_tiers(
    reading: Session, *, cursors: Cursors, after: str | None, limit: int
) -> tuple[list[TierRead], str | None]:
    """By id, and where the next page begins."""
    wanted = select(Tier).order_by(Tier.id).limit(limit + 1)
    position = cursors.read(after)
    if position is not None:
        wanted = wanted.where(Tier.id > position)
    rows = reading.scalars(wanted).all()
    following = cursors.write(rows[limit - 1].id) if len(rows) > limit else None
    return [read(row) for row in rows[:limit]], following


def put(
    session: Session, *, tier_id: str, wanted: TierWrite, actor: Actor, now: datetime
) -> tuple[TierRead, bool]:
    """The tier, and whether it is new."""
    columns = wanted.model_dump(exclude={"monthly_budget"})
    columns["monthly_budget_nano"] = (
        None if wanted.monthly_budget is None else nano(wanted.monthly_budget)
    )
    row = {"id": tier_id, "created_at": now, **columns}
    new = insert_new(session, Tier, [row], unique=(Tier.id,), returning=Tier.id)
    changed = update(Tier).where(Tier.id == tier_id).values(**columns).returning(Tier)
    found = session.scalar(changed, execution_options={"populate_existing": True})
    if found is None:
        raise Conflict("This tier was deleted at this moment.")
    details = {name: value for name, value in columns.items() if name != "title"}
    record(session, "tier.put", actor=actor, subject=tier_id, now=now, details=details)
    users = session.scalars(select(User.id).where(User.tier == tier_id).order_by(User.id))
    revocations.record_all(session, RevocationKind.USER, users.all(), now=now)
    return read(found), bool(new)


def remove(session: Session, *, tier_id: str, actor: Actor, now: datetime) -> None:
    """Raises `NotFound` or `Conflict`."""
    if tier_id == FIRST_TIER:
        raise Conflict("New users get this tier: it stays.")
    try:
        gone = session.scalar(delete(Tier).where(Tier.id == tier_id).returning(Tier.id))
    except IntegrityError as error:
        raise Conflict("Users or invitations have this tier. Give them another first.") from error
    if gone is None:
        raise NotFound("There is no such tier.")
    record(session, "tier.delete", actor=actor, subject=tier_id, now=now)


def read(tier: Tier) -> TierRead:
    budget = tier.monthly_budget_nano
    return TierRead(
        id=tier.id,
        title=tier.title,
        highest_priority=tier.highest_priority,
        requests_per_minute=tier.requests_per_minute,
        tokens_per_minute=tier.tokens_per_minute,
        concurrent_calls=tier.concurrent_calls,
        queued_calls=tier.queued_calls,
        max_body_mb=tier.max_body_mb,
        most_keys=tier.most_keys,
        monthly_budget=None if budget is None else budget / NANO,
        created_at=tier.created_at,
    )
