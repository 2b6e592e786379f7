"""Proves that every lease is the sum of its entries in the ledger."""

from collections.abc import Callable, Iterator

from sqlalchemy import ColumnElement, Subquery, case, func, or_, select
from sqlalchemy.orm import Session

from dormouse_control.leases.models import Lease
from dormouse_control.ledger.models import EntryKind, LedgerEntry

_AT_ONCE = 1000


def verify(reading: Session, report: Callable[[str], None]) -> int:
    """Tells what is wrong; what all leases have outstanding, in billionths of the currency."""
    sums = _sums()
    outstanding = 0
    wanted = select(Lease, sums).outerjoin(sums, sums.c.lease_id == Lease.id).order_by(Lease.id)
    for lease, *row in reading.execute(wanted, execution_options={"yield_per": _AT_ONCE}):
        _, reserved, released, charged, first, last = row
        stored = (lease.granted_nano, lease.returned_nano, lease.charged_nano)
        entered = (int(reserved or 0), int(released or 0), int(charged or 0))
        for name, one, other in zip(
            ("reserved", "released", "charged"), stored, entered, strict=True
        ):
            if one != other:
                report(f"lease {lease.id}: {one} is stored as {name}, its entries say {other}")
        if first is not None and not first == last == lease.user_id:
            report(f"lease {lease.id}: it is {lease.user_id}'s, and has entries of others")
        left = lease.granted_nano - lease.returned_nano - lease.charged_nano
        if lease.ended_at is None:
            outstanding += max(0, left)
        elif left > 0:
            report(f"lease {lease.id}: it has ended, and {left} was not released")
        reading.expunge(lease)
    for problem in _strays(reading, sums):
        report(problem)
    return outstanding


def _sums() -> Subquery:
    def total(kind: EntryKind, name: str) -> ColumnElement[int]:
        amount = case((LedgerEntry.kind == kind, LedgerEntry.amount_nano), else_=0)
        return func.sum(amount).label(name)

    return (
        select(
            LedgerEntry.lease_id,
            total(EntryKind.RESERVE, "reserved"),
            total(EntryKind.RELEASE, "released"),
            total(EntryKind.CHARGE, "charged"),
            func.min(LedgerEntry.user_id).label("first"),
            func.max(LedgerEntry.user_id).label("last"),
        )
        .where(LedgerEntry.lease_id.is_not(None))
        .group_by(LedgerEntry.lease_id)
        .subquery()
    )


def _strays(reading: Session, sums: Subquery) -> Iterator[str]:
    """Entries that belong nowhere."""
    without = select(sums.c.lease_id).outerjoin(Lease, Lease.id == sums.c.lease_id)
    for lease in reading.scalars(without.where(Lease.id.is_(None)).order_by(sums.c.lease_id)):
        yield f"lease {lease}: it has entries, and is missing"
    about_leases = LedgerEntry.kind != EntryKind.CHARGE
    step = LedgerEntry.kind + ":" + LedgerEntry.lease_id + ":"
    wrong = or_(
        LedgerEntry.lease_id.is_(None),
        func.substr(LedgerEntry.key, 1, func.length(step)) != step,
    )
    odd = or_(about_leases & wrong, LedgerEntry.amount_nano < 0)
    wanted = select(LedgerEntry.key).where(odd).order_by(LedgerEntry.id)
    for key in reading.scalars(wanted, execution_options={"yield_per": _AT_ONCE}):
        yield f"entry {key}: it is not one that was ever written so"
