"""What the budgets of some callers have left, while a batch takes from them."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import datetime

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from dormouse_control import bulk
from dormouse_control.budgets import Budget
from dormouse_control.budgets.decisions import Subject, end
from dormouse_control.budgets.reading import of_many
from dormouse_control.groups.membership import groups_of
from dormouse_control.groups.models import GroupMember
from dormouse_control.leases.decisions import Room
from dormouse_control.leases.models import Lease
from dormouse_control.ledger import spending

Caller = tuple[str, str]
"""A user, and the id of a key or session."""


class Budgets:
    """Of all the callers, and of the groups that the users are in. Amounts in billionths.

    Budgets that never refuse all are not among them: they act only on what was spent.
    """

    def __init__(self, session: Session, callers: Collection[Caller], *, now: datetime) -> None:
        self._now = now
        users = {user for user, _ in callers}
        keys = {credential for _, credential in callers if credential.startswith("key_")}
        self._budgets: dict[str, list[tuple[Budget, int]]] = defaultdict(list)
        for budget in of_many(session, users=users, keys=keys, now=now):
            if budget.refused_from_nano is not None:
                self._budgets[budget.subject_id].append((budget, budget.refused_from_nano))
        groups = [
            subject_id
            for subject_id, ((budget, _), *_) in self._budgets.items()
            if budget.subject is Subject.GROUP
        ]
        self._groups = groups_of(session, GroupMember.group_id.in_(groups)) if groups else {}
        # First what is outstanding, then what is charged: a call that is booked between the two
        # counts twice here, and never not at all.
        self._held: dict[str, int] = defaultdict(int)
        for user, credential, nano in _outstanding(session, users | self._groups.keys()):
            self.take((user, credential), nano)
        self._charged = spending.of_many(session, list(self._budgets), now=now)

    def rooms(self, caller: Caller, *, mine: int) -> list[Room]:
        """One for each budget; the lease that asks has `mine` outstanding."""
        return [
            Room(
                limit=limit,
                charged=self._charged.get((subject, budget.period), 0),
                others=self._held[subject] - max(0, mine),
                mine=max(0, mine),
                until=end(budget.period, now=self._now),
            )
            for subject in self._subjects(caller)
            for budget, limit in self._budgets.get(subject, ())
        ]

    def take(self, caller: Caller, nano: int) -> None:
        """So much more is outstanding for the caller; negative: less."""
        for subject in self._subjects(caller):
            self._held[subject] += nano

    def _subjects(self, caller: Caller) -> Iterator[str]:
        yield from caller
        yield from self._groups.get(caller[0], ())


def _outstanding(session: Session, users: Collection[str]) -> Iterator[tuple[str, str, int]]:
    left = outstanding_column()
    wanted = (
        select(Lease.user_id, Lease.credential, func.sum(case((left > 0, left), else_=0)))
        .where(bulk.among(session, Lease.user_id, users), Lease.ended_at.is_(None))
        .group_by(Lease.user_id, Lease.credential)
    )
    for user, credential, nano in session.execute(wanted):
        yield user, credential, int(nano)


def outstanding_column() -> ColumnElement[int]:
    return Lease.granted_nano - Lease.returned_nano - Lease.charged_nano
