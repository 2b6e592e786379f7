"""Mail on its way: written in the transaction of what it is about, sent soon after by `sender`.

At least once: it is taken out only after it was sent. Nobody gets it twice because several control
planes send at once: one UPDATE decides whose turn it is.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from dormouse_control.db import take_turn
from dormouse_control.mail.models import Mail, MailKind
from dormouse_control.naming import new_id

MOST_AN_HOUR = 5
MOST_NOTICES_AN_HOUR = 20
ONE_IN = timedelta(minutes=1)
GIVEN_UP_AFTER = timedelta(hours=24)
_KEPT = timedelta(hours=1)
_LONGEST_PAUSE = timedelta(hours=1)
_BATCH = 20


def enqueue(
    session: Session,
    kind: MailKind,
    *,
    address: str,
    now: datetime,
    user_id: str | None = None,
    token: str | None = None,
    about: str | None = None,
) -> None:
    """Sent if and when this transaction is committed."""
    session.add(
        Mail(
            id=new_id("msg"),
            kind=kind,
            user_id=user_id,
            address=address,
            token=token,
            about=about,
            created_at=now,
            attempts=0,
            next_at=now,
        )
    )
    session.flush()


def ask(session: Session, kind: MailKind, *, address: str, now: datetime) -> None:
    """For mail that anybody can cause: dropped without a word if there was enough of it.

    Whether the address has an account is not looked at here, so that the time does not tell.
    """
    take_turn(session, f"mail {kind} {address}")
    same = (Mail.kind == kind, Mail.address == address, Mail.created_at > now - _KEPT)
    count, last = session.execute(
        select(func.count(), func.max(Mail.created_at)).where(*same)
    ).one()
    if count < MOST_AN_HOUR and (last is None or last <= now - ONE_IN):
        enqueue(session, kind, address=address, now=now)


def enqueue_limited(
    session: Session, kind: MailKind, *, address: str, user_id: str, about: str, now: datetime
) -> None:
    """For mail that follows from what its receiver does: dropped if there was enough of it."""
    same = (Mail.kind == kind, Mail.address == address, Mail.created_at > now - _KEPT)
    if (session.scalar(select(func.count()).where(*same)) or 0) < MOST_NOTICES_AN_HOUR:
        enqueue(session, kind, address=address, user_id=user_id, about=about, now=now)


def due(reading: Session, *, now: datetime) -> Sequence[Mail]:
    """The oldest that should be sent now."""
    return reading.scalars(
        select(Mail).where(Mail.next_at <= now).order_by(Mail.next_at).limit(_BATCH)
    ).all()


def claim(session: Session, mail: Mail, *, now: datetime) -> bool:
    """Whether it is ours to send, as it was seen. Nobody else's before the pause is over."""
    claimed = session.scalar(
        update(Mail)
        .where(Mail.id == mail.id, Mail.next_at == mail.next_at)
        .values(next_at=now + pause(mail.attempts), attempts=Mail.attempts + 1)
        .returning(Mail.id)
        .execution_options(synchronize_session=False)
    )
    return claimed is not None


def pause(attempts: int) -> timedelta:
    """How long to wait after so many attempts that failed, and this one."""
    return min(timedelta(minutes=1 << min(attempts, 10)), _LONGEST_PAUSE)


def finish(session: Session, mail: Mail, *, problem: str | None = None) -> None:
    """It was sent, or never will be."""
    over = update(Mail).where(Mail.id == mail.id).values(next_at=None, problem=problem)
    session.execute(over)


def postpone(session: Session, mail: Mail, *, problem: str, now: datetime) -> bool:
    """It could not be sent. Whether it will be tried again."""
    again = now - mail.created_at < GIVEN_UP_AFTER
    if not again:
        finish(session, mail, problem=problem)
    else:
        session.execute(update(Mail).where(Mail.id == mail.id).values(problem=problem))
    return again


def prune(session: Session, *, now: datetime) -> None:
    """Drop what is over and no longer counted."""
    over = (Mail.next_at.is_(None), Mail.created_at < now - _KEPT)
    session.execute(delete(Mail).where(*over))
