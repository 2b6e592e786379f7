"""Money that authorizers may spend before they ask again: taken from budgets, written down."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dormouse_control import bulk
from dormouse_control.identity.models import User, UserStatus
from dormouse_control.leases.budgeted import Budgets, Caller
from dormouse_control.leases.decisions import Paid, pay
from dormouse_control.leases.models import Lease, State
from dormouse_control.leases.schemas import MoneyAsk, MoneyGot
from dormouse_control.ledger import entries
from dormouse_control.ledger.entries import Entry
from dormouse_control.ledger.models import EntryKind, LedgerEntry
from dormouse_control.naming import new_id

FORGOTTEN_AFTER = timedelta(seconds=700)
"""Longer than the longest call. What a lease has left that nobody spoke of for so long is released.
"""

ABANDONED_AFTER = timedelta(seconds=90)
"""After a holder was started anew its old leases end with the last call that could still begin by
them: an internal token lives for 60 seconds. Who blocks a budget for longer than that are calls
that may run for ten minutes; nearly none does.
"""


@dataclass(frozen=True)
class Held:
    """A lease as it is in the table, less what only its end needs."""

    id: str
    holder: str
    user_id: str
    credential: str
    first_seq: int
    seq: int
    last_granted_nano: int
    last_state: State
    last_others_nano: int
    last_until: datetime | None
    granted_nano: int
    returned_nano: int
    charged_nano: int
    created_at: datetime
    expires_at: datetime

    @property
    def outstanding(self) -> int:
        return self.granted_nano - self.returned_nano - self.charged_nano

    def reply(self) -> MoneyGot:
        """To its last step."""
        until = None if self.last_until is None else int(self.last_until.timestamp())
        return MoneyGot(
            lease=self.id,
            seq=self.seq,
            granted=self.last_granted_nano,
            state=self.last_state,
            others=self.last_others_nano,
            until=until,
        )


_COLUMNS = tuple(field.name for field in fields(Held))


class Leases:
    """Those of one holder that a batch is about; all that the batch does to them."""

    def __init__(
        self,
        session: Session,
        asks: Sequence[MoneyAsk],
        *,
        holder: str,
        at: datetime,
        now: datetime,
    ) -> None:
        self._session = session
        self._holder, self._at, self._now = holder, at, now
        users = sorted({ask.user for ask in asks})
        self._active = _active(session, users)
        own = _own(session, users, holder=holder)
        self._by_id = {lease.id: lease for lease in own}
        self._by_first = {(lease.credential, lease.first_seq): lease for lease in own}
        self._budgets = Budgets(session, {_caller(ask) for ask in asks}, now=now)
        self._changed: dict[str, Held] = {}
        self._entries: list[Entry] = []

    def lend(self, ask: MoneyAsk) -> MoneyGot:
        lease = self._by_id.get(ask.lease) if ask.lease is not None else None
        if lease is not None and (lease.user_id, lease.credential) != _caller(ask):
            lease = None
        if lease is None:
            begun = self._by_first.get((ask.credential, ask.seq))
            # Without the id the answer to the step that began it was lost.
            return self._begin(ask) if begun is None else self._repeat(begun, ask.seq)
        return self._repeat(lease, ask.seq) if ask.seq <= lease.seq else self._step(lease, ask)

    def write(self) -> None:
        rows = [
            [getattr(lease, name) for name in _COLUMNS]
            for _, lease in sorted(self._changed.items())
        ]
        bulk.put(self._session, Lease, _COLUMNS, rows, unique=("id",))
        entries.write(self._session, self._entries)

    def _begin(self, ask: MoneyAsk) -> MoneyGot:
        paid = self._pay(ask, mine=0)
        if not paid.granted:
            return MoneyGot(
                lease=None,
                seq=ask.seq,
                granted=0,
                state=paid.state,
                others=paid.others,
                until=None if paid.until is None else int(paid.until.timestamp()),
            )
        lease = Held(
            id=new_id("lse"),
            holder=self._holder,
            user_id=ask.user,
            credential=ask.credential,
            first_seq=ask.seq,
            seq=ask.seq,
            last_granted_nano=0,
            last_state="ok",
            last_others_nano=0,
            last_until=None,
            granted_nano=0,
            returned_nano=0,
            charged_nano=0,
            created_at=self._now,
            expires_at=self._at,
        )
        return self._keep(lease, ask, paid, returned=0)

    def _step(self, lease: Held, ask: MoneyAsk) -> MoneyGot:
        returned = min(ask.returned, max(0, lease.outstanding))
        self._budgets.take(_caller(ask), -returned)
        paid = self._pay(ask, mine=lease.outstanding - returned)
        return self._keep(lease, ask, paid, returned=returned)

    def _pay(self, ask: MoneyAsk, *, mine: int) -> Paid:
        if ask.user not in self._active:
            return Paid(0, "spent", 0, None)
        paid = pay(self._budgets.rooms(_caller(ask), mine=mine), ask.wanted)
        # Of what is granted to a lease that owes something only the rest is outstanding.
        self._budgets.take(_caller(ask), max(0, mine + paid.granted) - max(0, mine))
        return paid

    def _keep(self, lease: Held, ask: MoneyAsk, paid: Paid, *, returned: int) -> MoneyGot:
        changed = replace(
            lease,
            seq=ask.seq,
            last_granted_nano=paid.granted,
            last_state=paid.state,
            last_others_nano=paid.others,
            last_until=paid.until,
            granted_nano=lease.granted_nano + paid.granted,
            returned_nano=lease.returned_nano + returned,
            expires_at=self._at + FORGOTTEN_AFTER,
        )
        self._by_id[lease.id] = self._changed[lease.id] = changed
        self._by_first[lease.credential, lease.first_seq] = changed
        for kind, nano in ((EntryKind.RESERVE, paid.granted), (EntryKind.RELEASE, returned)):
            if nano:
                self._entries.append(
                    entries.of_step(
                        kind, lease.id, ask.seq, user_id=ask.user, amount_nano=nano, at=self._now
                    )
                )
        return changed.reply()

    def _repeat(self, lease: Held, seq: int) -> MoneyGot:
        """The answer to a step that was made before, with no second effect."""
        if seq == lease.seq:
            return lease.reply()
        key = entries.step_key(EntryKind.RESERVE, lease.id, seq)
        granted = select(LedgerEntry.amount_nano).where(LedgerEntry.key == key)
        return MoneyGot(
            lease=lease.id,
            seq=seq,
            granted=self._session.scalar(granted) or 0,
            state="ok",
            others=0,
            until=None,
        )


def lend_all(
    session: Session, asks: Sequence[MoneyAsk], *, holder: str, at: datetime, now: datetime
) -> list[MoneyGot]:
    """`at` is the clock of leases, by which they end; `now` the wall's, by which budgets begin."""
    if not asks:
        return []
    leases = Leases(session, asks, holder=holder, at=at, now=now)
    got = [leases.lend(ask) for ask in asks]
    leases.write()
    return got


def end_soon(session: Session, *, holder: str, at: datetime) -> None:
    """The holder has forgotten its leases."""
    ends = at + ABANDONED_AFTER
    living = (Lease.holder == holder, Lease.ended_at.is_(None), Lease.expires_at > ends)
    session.execute(
        update(Lease).where(*living).values(expires_at=ends),
        execution_options={"synchronize_session": False},
    )


def _caller(ask: MoneyAsk) -> Caller:
    return ask.user, ask.credential


def _active(session: Session, users: Sequence[str]) -> set[str]:
    """Nobody of them is erased before this is committed."""
    living = select(User.id).where(
        bulk.among(session, User.id, users), User.status == UserStatus.ACTIVE
    )
    ordered = living.order_by(User.id).with_for_update(read=True, key_share=True)
    return set(session.scalars(ordered))


def _own(session: Session, users: Sequence[str], *, holder: str) -> list[Held]:
    """The holder's, locked: nothing is charged to them meanwhile."""
    columns = [getattr(Lease, name) for name in _COLUMNS]
    named = bulk.among(session, Lease.user_id, users)
    living = (named, Lease.holder == holder, Lease.ended_at.is_(None))
    wanted = select(*columns).where(*living).order_by(Lease.id).with_for_update()
    return [Held(*row) for row in session.execute(wanted)]
