"""Budgets: over which time they count, and whether they are spent.

They are exact after the fact: what is spent is the sum of the calls that are booked. Days and
months are UTC's, and a call counts where it ended.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any  # a row's columns

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dormouse_control.identity import revocations
from dormouse_control.identity.models import ApiKey, Period, RevocationKind, User
from dormouse_control.tiers.models import Tier
from dormouse_control.usage.models import UsageEntry


@dataclass(frozen=True)
class Budget:
    """Of one key, or with `key_id` None of all that a user calls."""

    user_id: str
    key_id: str | None
    limit_nano: int
    period: Period


@dataclass(frozen=True)
class Spent:
    """`until` is when a budget that is over begins anew; None: never by itself."""

    over: bool
    until: datetime | None


def begin(period: Period, *, now: datetime) -> datetime | None:
    """When the period that runs now began; None: it has always been running."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period is Period.TOTAL:
        return None
    return midnight if period is Period.DAY else midnight.replace(day=1)


def end(period: Period, *, now: datetime) -> datetime | None:
    """When the next period begins; None: never."""
    began = begin(period, now=now)
    if began is None:
        return None
    if period is Period.DAY:
        return began + timedelta(days=1)
    return (began + timedelta(days=32)).replace(day=1)


def spent(reading: Session, *, user: User, tier: Tier, key: ApiKey | None, now: datetime) -> Spent:
    """Whether the user's budget or that of the key is over."""
    budgets = [_of_user(user, tier)] + ([_of_key(key)] if key else [])
    over = [each for each in budgets if each is not None and _is_spent(reading, each, now=now)]
    ends = [end(each.period, now=now) for each in over]
    return Spent(bool(over), min((each for each in ends if each is not None), default=None))


def watch(
    session: Session, rows: Collection[Mapping[str, Any]], *, now: datetime
) -> Sequence[Budget]:
    """The budgets that are not spent yet of users and keys on which `rows` are to be booked.

    They stay locked until the end of the transaction: of two batches that only together use one
    up, the second sees the first.
    """
    users, keys = ({row[name] for row in rows} for name in ("user_id", "credential"))
    tiers = (
        select(User, Tier)
        .join(Tier, Tier.id == User.tier)
        .where(User.id.in_(sorted(users)), Tier.monthly_budget_nano.is_not(None))
        .order_by(User.id)
        .with_for_update(of=User, key_share=True)
    )
    limited = (
        select(ApiKey)
        .where(ApiKey.id.in_(sorted(keys)), ApiKey.budget_nano.is_not(None))
        .order_by(ApiKey.id)
        .with_for_update(key_share=True)
    )
    found = [_of_user(user, tier) for user, tier in session.execute(tiers)]
    found += [_of_key(key) for key in session.scalars(limited)]
    return [each for each in found if each is not None and not _is_spent(session, each, now=now)]


def announce(session: Session, watched: Sequence[Budget], *, now: datetime) -> None:
    """Let authorizers ask again about whoever has spent their budget since it was watched."""
    for budget in watched:
        if not _is_spent(session, budget, now=now):
            continue
        if budget.key_id is None:
            revocations.record(session, RevocationKind.USER, budget.user_id, now=now)
        else:
            revocations.record(session, RevocationKind.KEY, budget.key_id, now=now)


def _of_user(user: User, tier: Tier) -> Budget | None:
    if tier.monthly_budget_nano is None:
        return None
    return Budget(user.id, None, tier.monthly_budget_nano, Period.MONTH)


def _of_key(key: ApiKey) -> Budget | None:
    if key.budget_nano is None or key.budget_period is None:
        return None
    return Budget(key.user_id, key.id, key.budget_nano, key.budget_period)


def _is_spent(reading: Session, budget: Budget, *, now: datetime) -> bool:
    wanted = select(func.coalesce(func.sum(UsageEntry.cost_nano), 0)).where(
        UsageEntry.user_id == budget.user_id
    )
    if budget.key_id is not None:
        wanted = wanted.where(UsageEntry.credential == budget.key_id)
    began = begin(budget.period, now=now)
    if began is not None:
        wanted = wanted.where(UsageEntry.time >= began)
    return int(reading.scalar(wanted) or 0) >= budget.limit_nano
