"""Proves that the ledger balances to the unit, and says what does not.

Calls by their prices are what they cost; what they cost is charged; charges are what users, keys
and groups have spent; and of every lease reservations less releases and charges are what is left.
Rows are read one after another, in one state of the database, so a million calls need no more
memory than the users and keys that made them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any  # rows that somebody may have changed

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from dormouse.catalog.schemas import Prices
from dormouse.prices import cost_nano
from dormouse_control.identity.models import Period
from dormouse_control.ledger import pricing, verification_leases
from dormouse_control.ledger.models import EntryKind, LedgerEntry, Spending
from dormouse_control.ledger.spending import Share, day_of, periods
from dormouse_control.usage.models import RejectedEvent, UsageEntry

MOST_PROBLEMS = 100
_AT_ONCE = 1000

_Sum = tuple[str, Period, str]
"""A subject's id, a kind of period, and when it began, in ISO 8601."""


@dataclass
class Findings:
    """Amounts in billionths of the currency. Of the `count` problems the first are told.

    `rejected` are usage events that could not be read, so that nobody was charged for them.
    """

    calls: int = 0
    entries: int = 0
    charged: int = 0
    outstanding: int = 0
    rejected: int = 0
    count: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        self.count += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


def verify(reading: Session) -> Findings:
    """`reading` must not have read anything yet."""
    if reading.get_bind().dialect.name == "postgresql":
        # Or each statement would see what was booked since the one before.
        reading.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    found = Findings()
    found.entries = reading.scalar(select(func.count()).select_from(LedgerEntry)) or 0
    found.rejected = reading.scalar(select(func.count()).select_from(RejectedEvent)) or 0
    _verify_calls(reading, found)
    for request_id in _uncalled(reading):
        found.add(f"charge of call {request_id}: there is no such call")
    found.outstanding = verification_leases.verify(reading, found.add)
    return found


def _verify_calls(reading: Session, found: Findings) -> None:
    prices = pricing.read_all(reading)
    groups: dict[_Sum, int] = defaultdict(int)
    seen: set[str] = set()
    for _, rows in groupby(_calls(reading), key=lambda row: row.user_id):
        sums: dict[_Sum, int] = defaultdict(int)
        subjects: set[str] = set()
        for row in rows:
            found.calls += 1
            for problem in _wrong(row, prices):
                found.add(f"call {row.request_id}: {problem}")
            if row.amount_nano is None:
                continue
            found.charged += row.amount_nano
            subjects.add(row.user_id)
            _sum(sums, Share("user", row.user_id, day_of(row.at)), row.amount_nano)
            if row.credential.startswith("key_"):
                subjects.add(row.credential)
                _sum(sums, Share("key", row.credential, day_of(row.at)), row.amount_nano)
            for group in row.groups or ():
                _sum(groups, Share("group", group, day_of(row.at)), row.amount_nano)
        _compare(sums, _spent(reading, Spending.subject_id.in_(sorted(subjects))), found)
        seen |= subjects
    _compare(groups, _spent(reading, Spending.subject == "group"), found)
    others = select(Spending.subject_id).where(Spending.subject != "group").distinct()
    for subject in reading.scalars(others):
        if subject not in seen:
            found.add(f"{subject} has spent something without a call")


def _calls(reading: Session) -> Iterator[Any]:
    """Every call with its charge, user by user."""
    wanted = (
        select(
            UsageEntry.request_id,
            UsageEntry.user_id,
            UsageEntry.credential,
            UsageEntry.time,
            UsageEntry.received_at,
            UsageEntry.lease_id.label("payer"),
            UsageEntry.prices_id,
            UsageEntry.cost_nano,
            UsageEntry.prompt_tokens,
            UsageEntry.completion_tokens,
            UsageEntry.compute_ms,
            UsageEntry.gpus,
            UsageEntry.audio_ms,
            UsageEntry.images,
            UsageEntry.load_ms,
            LedgerEntry.at,
            LedgerEntry.kind,
            LedgerEntry.lease_id,
            LedgerEntry.request_id.label("charged_request"),
            LedgerEntry.user_id.label("charged_user"),
            LedgerEntry.groups,
            LedgerEntry.amount_nano,
        )
        .outerjoin(LedgerEntry, LedgerEntry.key == "charge:" + UsageEntry.request_id)
        .order_by(UsageEntry.user_id, UsageEntry.time, UsageEntry.id)
    )
    yield from reading.execute(wanted, execution_options={"yield_per": _AT_ONCE})


def _wrong(row: Any, prices: Mapping[str, Prices]) -> Iterator[str]:
    if row.prices_id is not None:
        price = prices.get(row.prices_id)
        if price is None:
            yield f"its prices {row.prices_id} are missing"
        elif (cost := cost_nano(price, row)) != row.cost_nano:
            yield f"by its prices it costs {cost}, and {row.cost_nano} is stored"
    if row.amount_nano is None:
        yield "it was not charged"
        return
    if row.amount_nano != row.cost_nano:
        yield f"it costs {row.cost_nano}, and {row.amount_nano} was charged"
    if (row.kind, row.charged_request) != (EntryKind.CHARGE, row.request_id):
        yield "its entry in the ledger is about something else"
    if row.charged_user != row.user_id:
        yield f"{row.user_id} called, and {row.charged_user} was charged"
    if row.at != min(row.time, row.received_at):
        yield f"it was charged at {row.at.isoformat()}, which is not when it ended"
    if row.lease_id not in (None, row.payer):
        yield f"it names lease {row.payer}, and {row.lease_id} was charged"


def _uncalled(reading: Session) -> Iterator[str]:
    call = UsageEntry.request_id == LedgerEntry.request_id
    wanted = (
        select(LedgerEntry.key)
        .outerjoin(UsageEntry, call)
        .where(LedgerEntry.kind == EntryKind.CHARGE, UsageEntry.id.is_(None))
        .order_by(LedgerEntry.id)
    )
    for key in reading.scalars(wanted, execution_options={"yield_per": _AT_ONCE}):
        yield key.removeprefix("charge:")


def _sum(sums: dict[_Sum, int], share: Share, nano: int) -> None:
    for period, begins in periods(share.day):
        sums[share.subject_id, period, begins.isoformat()] += nano


def _spent(reading: Session, which: ColumnElement[bool]) -> dict[_Sum, int]:
    columns = (Spending.subject_id, Spending.period, Spending.begins, Spending.nano)
    rows = reading.execute(select(*columns).where(which))
    return {(row.subject_id, row.period, row.begins.isoformat()): row.nano for row in rows}


def _compare(charged: Mapping[_Sum, int], spent: Mapping[_Sum, int], found: Findings) -> None:
    for key in sorted(charged.keys() | spent.keys()):
        sum_of_charges, stored = charged.get(key, 0), spent.get(key, 0)
        if sum_of_charges != stored:
            subject, period, begins = key
            found.add(
                f"{subject}, {period.value} from {begins[:10]}: charges are {sum_of_charges}, "
                f"and {stored} is stored as spent"
            )
