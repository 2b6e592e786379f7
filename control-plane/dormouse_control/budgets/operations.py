"""Rules of setting budgets, and what people see of theirs."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from dormouse.prices import NANO
from dormouse_control.audit.record import Actor, Detail, record
from dormouse_control.budgets import reading as budgets
from dormouse_control.budgets.amounts import nano
from dormouse_control.budgets.decisions import Budget, Subject, Threshold, end
from dormouse_control.budgets.models import SetBudget
from dormouse_control.budgets.schemas import BudgetRead, BudgetWrite, Source, ThresholdRead
from dormouse_control.budgets.watching import announce, ask_again
from dormouse_control.db import insert_new
from dormouse_control.errors import InvalidValue, NotFound
from dormouse_control.groups import operations as groups
from dormouse_control.groups.models import Group
from dormouse_control.identity.models import ApiKey, Period
from dormouse_control.naming import new_id
from dormouse_control.pages import Cursors
from dormouse_control.users import operations as users

_PREFIXES = {"usr": Subject.USER, "key": Subject.KEY, "grp": Subject.GROUP}
_SOURCES: dict[str, Source] = {"key": "key", "tier": "tier"}
_MOST_KEYS = 200


def mine(reading: Session, *, user_id: str, now: datetime) -> list[BudgetRead]:
    """All that calls of the user count on, with any of their newest keys."""
    living = select(ApiKey.id).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    keys = reading.scalars(living.order_by(ApiKey.id.desc()).limit(_MOST_KEYS)).all()
    found = budgets.of_many(reading, users=[user_id], keys=keys, now=now)
    return _read_all(reading, found, now=now)


def list_budgets(
    reading: Session, *, cursors: Cursors, after: str | None, limit: int, now: datetime
) -> tuple[list[BudgetRead], str | None]:
    """Those that administrators set, oldest first, and where the next page begins."""
    wanted = select(SetBudget).order_by(SetBudget.id).limit(limit + 1)
    position = cursors.read(after)
    if position is not None:
        wanted = wanted.where(SetBudget.id > position)
    rows = reading.scalars(wanted).all()
    following = cursors.write(rows[limit - 1].id) if len(rows) > limit else None
    found = [budgets.of_row(row, now=now) for row in rows[:limit]]
    return _read_all(reading, found, now=now), following


def of_subject(reading: Session, subject_id: str, *, now: datetime) -> list[BudgetRead]:
    """Raises `NotFound`."""
    _subject(reading, subject_id)
    found = budgets.of_subject(reading, subject_id, now=now)
    return _read_all(reading, found, now=now)


def put(
    session: Session,
    *,
    subject_id: str,
    period: str,
    wanted: BudgetWrite,
    actor: Actor,
    now: datetime,
) -> tuple[BudgetRead, bool]:
    """The budget, and whether it is new. Raises `NotFound` or `InvalidValue`."""
    subject = _subject(session, subject_id)
    _hold(session, subject_id, subject)
    if period not in list(Period):
        raise InvalidValue("period is day, month or total.", param="period")
    columns = {
        "limit_nano": nano(wanted.limit),
        "thresholds": [each.model_dump() for each in wanted.thresholds],
    }
    row = {
        "id": new_id("bud"),
        "subject": subject,
        "subject_id": subject_id,
        "period": Period(period),
        "created_by": actor.id,
        "created_at": now,
        **columns,
    }
    unique = (SetBudget.subject_id, SetBudget.period)
    new = insert_new(session, SetBudget, [row], unique=unique, returning=SetBudget.id)
    here = (SetBudget.subject_id == subject_id, SetBudget.period == period)
    changed = update(SetBudget).where(*here).values(**columns).returning(SetBudget)
    found = session.scalars(changed, execution_options={"populate_existing": True}).one()
    budget = budgets.of_row(found, now=now)
    details: dict[str, Detail] = {
        "period": period,
        "limit_nano": budget.limit_nano,
        "thresholds": [f"{each.action} {each.at_percent}" for each in wanted.thresholds],
    }
    # What it passes already is told now: there may be no later call to tell it.
    announce(session, [budget], now=now)
    record(session, "budget.put", actor=actor, subject=subject_id, now=now, details=details)
    ask_again(session, [budget], now=now)
    (shown,) = _read_all(session, [budget], now=now)
    return shown, bool(new)


def remove(session: Session, *, subject_id: str, period: str, actor: Actor, now: datetime) -> None:
    """Raises `NotFound`."""
    here = (SetBudget.subject_id == subject_id, SetBudget.period == period)
    row = session.scalar(delete(SetBudget).where(*here).returning(SetBudget))
    if row is None:
        raise NotFound("There is no such budget.")
    details = {"period": period, "limit_nano": row.limit_nano}
    record(session, "budget.delete", actor=actor, subject=subject_id, now=now, details=details)
    ask_again(session, [budgets.of_row(row, now=now)], now=now)


def _subject(reading: Session, subject_id: str) -> Subject:
    """Raises `NotFound`."""
    subject = _PREFIXES.get(subject_id.partition("_")[0])
    if subject is Subject.USER:
        users.find_living(reading, subject_id)
    elif subject is Subject.GROUP:
        groups.detail(reading, subject_id)
    elif subject is Subject.KEY:
        key = reading.get(ApiKey, subject_id)
        if key is None or key.revoked_at is not None:
            raise NotFound("There is no such key.")
    if subject is None:
        raise NotFound("A budget is for a user (usr_…), a key (key_…) or a group (grp_…).")
    return subject


def _hold(session: Session, subject_id: str, subject: Subject) -> None:
    """Raises `NotFound`. To the end of the transaction nobody takes the subject away."""
    if subject is Subject.USER:
        users.hold(session, subject_id)
    elif subject is Subject.GROUP:
        groups.hold(session, subject_id)
    else:
        living = select(ApiKey.id).where(ApiKey.id == subject_id, ApiKey.revoked_at.is_(None))
        if session.scalar(living.with_for_update(read=True)) is None:
            raise NotFound("There is no such key.")


def _read_all(reading: Session, found: Collection[Budget], *, now: datetime) -> list[BudgetRead]:
    names = _names(reading, found)
    return [
        _read(budget, spent_nano, name=names.get(budget.subject_id), now=now)
        for budget, spent_nano in budgets.spent(reading, found, now=now)
    ]


def _read(budget: Budget, spent_nano: int, *, name: str | None, now: datetime) -> BudgetRead:
    reached = budget.reached(spent_nano)
    return BudgetRead(
        subject=budget.subject.value,
        subject_id=budget.subject_id,
        name=name,
        source=_SOURCES.get(budget.id.partition(":")[0], "budget"),
        period=budget.period.value,
        limit=budget.limit_nano / NANO,
        spent=spent_nano / NANO,
        left=max(0, budget.limit_nano - spent_nano) / NANO,
        renews_at=end(budget.period, now=now),
        thresholds=_thresholds(budget.thresholds, reached),
    )


def _thresholds(all_: Sequence[Threshold], reached: Sequence[Threshold]) -> list[ThresholdRead]:
    return [
        ThresholdRead(at_percent=each.at_percent, action=each.action.value, reached=each in reached)
        for each in all_
    ]


def _names(reading: Session, found: Collection[Budget]) -> dict[str, str]:
    """What keys and groups are called, by id."""
    ids = sorted({budget.subject_id for budget in found})
    rows = [
        row
        for table in (ApiKey, Group)
        for row in reading.execute(select(table.id, table.name).where(table.id.in_(ids)))
    ]
    return {row.id: row.name for row in rows}
