"""Charges what calls cost to the leases that pay for them."""

from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple, cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.orm import Session

from dormouse_control import bulk
from dormouse_control.leases.models import Lease


class Payer(NamedTuple):
    """Which lease a call says that it is paid from, and who called."""

    lease: str
    user_id: str
    credential: str


def known(session: Session, payers: Collection[Payer]) -> set[Payer]:
    """Those that are right, whether their leases live or not; these stay locked.

    What a predictor says of anybody else's lease is not believed.
    """
    if not payers:
        return set()
    wanted = select(Lease.id, Lease.user_id, Lease.credential).where(
        bulk.among(session, Lease.id, {payer.lease for payer in payers})
    )
    rows = session.execute(wanted.order_by(Lease.id).with_for_update())
    return {Payer(*row) for row in rows} & set(payers)


def charge(session: Session, charged: Collection[tuple[str, int]]) -> None:
    """(lease, billionths); the leases are locked."""
    sums: dict[str, int] = defaultdict(int)
    for lease, nano in charged:
        sums[lease] += nano
    if not sums:
        return
    more = (
        update(cast(Table, Lease.__table__))
        .where(Lease.id == bindparam("lease"))
        .values(charged_nano=Lease.charged_nano + bindparam("nano"))
    )
    session.execute(more, [{"lease": id, "nano": nano} for id, nano in sorted(sums.items())])
