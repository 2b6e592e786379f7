"""What follows when calls are booked: each threshold that is passed is told and acted on once."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any  # a row's columns

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dormouse_control import bulk
from dormouse_control.budgets import reading
from dormouse_control.budgets.decisions import Action, Budget, Subject, Threshold
from dormouse_control.budgets.mails import notify
from dormouse_control.budgets.models import BudgetNotice
from dormouse_control.db import insert_new
from dormouse_control.groups.models import GroupMember
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind

_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
"""When the period of a budget began that never begins anew."""
_KEPT = timedelta(days=40)


def watch(
    session: Session, rows: Collection[Mapping[str, Any]], *, now: datetime
) -> Sequence[Budget]:
    """The budgets on which `rows` are to be booked, and of which not all is told yet."""
    users, keys = ({row[name] for row in rows} for name in ("user_id", "credential"))
    found = reading.of_many(session, users=users, keys=keys, now=now)
    told = _told(session, found)
    return [each for each in found if any(_notice(each, t) not in told for t in each.thresholds)]


def announce(session: Session, watched: Collection[Budget], *, now: datetime) -> None:
    """Tell and act on every threshold that is passed and was not told in this period.

    After the charges: they hold what is added up, so that of two batches which only together pass
    a threshold the second sees the first. And last in the transaction, because of turns.
    """
    kept: list[Budget] = []
    for budget, spent_nano in reading.spent(session, watched, now=now):
        new = [each for each in budget.reached(spent_nano) if _is_new(session, budget, each)]
        if any(each.action is Action.NOTIFY for each in new):
            notify(session, budget, spent_nano=spent_nano, now=now)
        if any(each.action is not Action.NOTIFY for each in new):
            kept.append(budget)
    ask_again(session, kept, now=now)


def ask_again(session: Session, budgets: Iterable[Budget], *, now: datetime) -> None:
    """Let authorizers ask anew about whomever these budgets are for."""
    users, keys = set[str](), set[str]()
    for budget in budgets:
        if budget.subject is Subject.KEY:
            keys.add(budget.subject_id)
        elif budget.subject is Subject.USER:
            users.add(budget.subject_id)
        else:
            members = select(GroupMember.user_id).where(GroupMember.group_id == budget.subject_id)
            users |= set(session.scalars(members))
    if users:
        revocations.record_all(session, RevocationKind.USER, sorted(users), now=now)
    if keys:
        revocations.record_all(session, RevocationKind.KEY, sorted(keys), now=now)


def prune(session: Session, *, now: datetime) -> None:
    """Drop what was told of periods that are long over."""
    over = (BudgetNotice.begins < now - _KEPT, BudgetNotice.begins != _ALWAYS)
    session.execute(delete(BudgetNotice).where(*over))


def _notice(budget: Budget, threshold: Threshold) -> tuple[str, datetime, int, Action]:
    amount = threshold.amount_nano(budget.limit_nano)
    return budget.id, budget.begins or _ALWAYS, amount, threshold.action


def _told(session: Session, budgets: Collection[Budget]) -> set[tuple[str, datetime, int, Action]]:
    if not budgets:
        return set()
    named = bulk.among(session, BudgetNotice.budget, {budget.id for budget in budgets})
    rows = session.scalars(select(BudgetNotice).where(named))
    return {(row.budget, row.begins, row.threshold_nano, row.action) for row in rows}


def _is_new(session: Session, budget: Budget, threshold: Threshold) -> bool:
    """Whether nobody told it before; from now on somebody did."""
    unique = (
        BudgetNotice.budget,
        BudgetNotice.begins,
        BudgetNotice.threshold_nano,
        BudgetNotice.action,
    )
    values = dict(zip((each.key for each in unique), _notice(budget, threshold), strict=True))
    column = BudgetNotice.budget
    return bool(insert_new(session, BudgetNotice, [values], unique=unique, returning=column))
