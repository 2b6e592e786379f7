"""Which budgets apply to a call, from the database, and how much of each is spent."""

from collections.abc import Collection
from datetime import datetime
from typing import Any  # thresholds as JSON

from sqlalchemy import Row, and_, or_, select
from sqlalchemy.orm import Session

from dormouse_control import bulk
from dormouse_control.budgets.decisions import (
    Action,
    Budget,
    Subject,
    Threshold,
    begin,
)
from dormouse_control.budgets.models import SetBudget
from dormouse_control.groups.models import GroupMember
from dormouse_control.identity.models import ApiKey, Period, User
from dormouse_control.ledger import spending
from dormouse_control.tiers.models import Tier

_COLUMNS = (
    SetBudget.id,
    SetBudget.subject,
    SetBudget.subject_id,
    SetBudget.limit_nano,
    SetBudget.period,
    SetBudget.thresholds,
)


def of_many(
    reading: Session, *, users: Collection[str], keys: Collection[str], now: datetime
) -> list[Budget]:
    """What calls of these users with these keys are counted on, also by way of groups."""
    return (
        _of_tiers(reading, users, now=now)
        + of_keys(reading, keys, now=now)
        + _set(reading, users=users, keys=keys, now=now)
    )


def of_keys(reading: Session, keys: Collection[str], *, now: datetime) -> list[Budget]:
    """Those that their owners gave them."""
    named = bulk.among(reading, ApiKey.id, keys)
    limited = select(ApiKey).where(named, ApiKey.budget_nano.is_not(None))
    found = (of_key(key, now=now) for key in reading.scalars(limited.order_by(ApiKey.id)))
    return [each for each in found if each is not None]


def of_key(key: ApiKey, *, now: datetime) -> Budget | None:
    if key.budget_nano is None or key.budget_period is None:
        return None
    period = key.budget_period
    return Budget(
        id=f"key:{key.id}",
        subject=Subject.KEY,
        subject_id=key.id,
        limit_nano=key.budget_nano,
        period=period,
        begins=begin(period, now=now),
    )


def of_row(row: SetBudget | Row[Any], *, now: datetime) -> Budget:
    return Budget(
        id=row.id,
        subject=row.subject,
        subject_id=row.subject_id,
        limit_nano=row.limit_nano,
        period=row.period,
        begins=begin(row.period, now=now),
        thresholds=thresholds(row.thresholds),
    )


def of_subject(reading: Session, subject_id: str, *, now: datetime) -> list[Budget]:
    """What is set for exactly this user, key or group, and what the tier or the key itself says."""
    here = select(SetBudget).where(SetBudget.subject_id == subject_id).order_by(SetBudget.id)
    rows = [of_row(row, now=now) for row in reading.scalars(here)]
    own = _of_tiers(reading, [subject_id], now=now) + of_keys(reading, [subject_id], now=now)
    return own + rows


def thresholds(stored: list[dict[str, Any]]) -> tuple[Threshold, ...]:
    return tuple(Threshold(each["at_percent"], Action(each["action"])) for each in stored)


def spent(
    reading: Session, budgets: Collection[Budget], *, now: datetime
) -> list[tuple[Budget, int]]:
    """Each with what is spent of it in its present period, in billionths of the currency."""
    sums = spending.of_many(reading, {budget.subject_id for budget in budgets}, now=now)
    return [(budget, sums.get((budget.subject_id, budget.period), 0)) for budget in budgets]


def _of_tiers(reading: Session, users: Collection[str], *, now: datetime) -> list[Budget]:
    limited = (
        select(User.id, Tier.monthly_budget_nano)
        .join(Tier, Tier.id == User.tier)
        .where(bulk.among(reading, User.id, users), Tier.monthly_budget_nano.is_not(None))
        .order_by(User.id)
    )
    return [
        Budget(
            id=f"tier:{user_id}",
            subject=Subject.USER,
            subject_id=user_id,
            limit_nano=limit_nano,
            period=Period.MONTH,
            begins=begin(Period.MONTH, now=now),
        )
        for user_id, limit_nano in reading.execute(limited)
        if limit_nano is not None
    ]


def _set(
    reading: Session, *, users: Collection[str], keys: Collection[str], now: datetime
) -> list[Budget]:
    member = bulk.among(reading, GroupMember.user_id, users)
    groups = select(GroupMember.group_id).where(member)
    named = bulk.among(reading, SetBudget.subject_id, {*users, *keys})
    shared = and_(SetBudget.subject == Subject.GROUP, SetBudget.subject_id.in_(groups))
    # Columns: objects of a thousand users take longer than all else that a batch of calls does.
    rows = reading.execute(select(*_COLUMNS).where(or_(named, shared)).order_by(SetBudget.id))
    return [of_row(row, now=now) for row in rows]
