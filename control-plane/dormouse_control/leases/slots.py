"""Calls at once: whose they are who may run them."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from dormouse_control import bulk
from dormouse_control.leases.decisions import seats
from dormouse_control.leases.models import SlotPiece
from dormouse_control.leases.schemas import SlotAsk, SlotGot

FORGOTTEN_AFTER = timedelta(seconds=15)
"""A holder that was not heard of for so long holds nothing any more."""

_COLUMNS = ("subject", "holder", "held", "heard_at")


def lend_all(
    session: Session, asks: Sequence[SlotAsk], *, holder: str, at: datetime
) -> list[SlotGot]:
    """`at` is the clock of leases."""
    if not asks:
        return []
    pieces: dict[str, dict[str, int]] = defaultdict(dict)
    wanted = select(SlotPiece.subject, SlotPiece.holder, SlotPiece.held).where(
        bulk.among(session, SlotPiece.subject, {ask.subject for ask in asks}),
        SlotPiece.heard_at >= at - FORGOTTEN_AFTER,
    )
    for row in session.execute(wanted):
        pieces[row.subject][row.holder] = row.held
    got = [_lend(ask, pieces[ask.subject], holder) for ask in asks]
    rows = [(subject, holder, held[holder], at) for subject, held in sorted(pieces.items())]
    bulk.put(session, SlotPiece, _COLUMNS, rows, unique=("subject", "holder"))
    return got


def leave_behind(session: Session, *, holder: str, at: datetime) -> None:
    """The holder was started anew; calls that it knew of may run on, so their places stay taken
    for as long as those of a holder that is not heard of.
    """
    past = f"~{int(at.timestamp() * 1000):x}{holder}"[:16]  # like no other holder's
    session.execute(update(SlotPiece).where(SlotPiece.holder == holder).values(holder=past))


def prune(session: Session, *, at: datetime) -> None:
    gone = delete(SlotPiece).where(SlotPiece.heard_at < at - FORGOTTEN_AFTER)
    session.execute(gone.execution_options(synchronize_session=False))


def _lend(ask: SlotAsk, held: dict[str, int], holder: str) -> SlotGot:
    others = sum(count for other, count in held.items() if other != holder)
    got = seats(limit=ask.limit, others=others, used=ask.used, wanted=ask.wanted)
    held[holder] = got.held
    return SlotGot(held=got.held, free=got.free, others=others)
