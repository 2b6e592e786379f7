"""Rules of restores: an older copy of the database revives nothing that was taken away since.

Every session and every one-time secret ends, because which of them were used since is not known.
Accounts and keys are narrowed to what the journal says was left to them.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.identity.models import ApiKey, Revocation, RevocationKind, UserSession
from dormouse_control.invitations.models import Invitation
from dormouse_control.proofs.models import OneTimeToken, RecoveryCode
from dormouse_control.restores import limits
from dormouse_control.restores.journal import Journal, Loss, Marks
from dormouse_control.restores.models import Epoch
from dormouse_control.restores.narrowing import narrow
from dormouse_control.sealing import Sealing


@dataclass(frozen=True)
class Restored:
    """What had to be narrowed; for the audit log."""

    sessions: int
    users: list[str]
    keys: list[str]


def is_older(session: Session, marks: Marks) -> bool:
    """Whether the database has not come as far as it is known to have been."""
    return _writes(session) < marks.writes


def settle(session: Session, journal: Journal, *, sealing: Sealing, now: datetime) -> Restored:
    """Make an older copy safe, in one transaction; doing it again does no harm."""
    marks = journal.marks()
    losses = journal.losses(after=_writes(session))
    keys = _settle_keys(session, losses, now=now)
    _spend_codes(session, losses, now=now)
    last = {loss.user: loss for loss in losses}
    users = [user for user, loss in last.items() if narrow(session, loss, sealing, now=now)]
    sessions = _end_all(session, now=now)
    _move_on(session, marks, now=now)
    found = Restored(sessions=sessions, users=users, keys=keys)
    record(
        session,
        "database.restore",
        actor=Actor(),
        subject=None,
        now=now,
        details={"sessions": sessions, "users": users, "keys": keys},
    )
    return found


def _writes(session: Session) -> int:
    return session.scalar(select(Epoch.writes)) or 0


def _settle_keys(session: Session, losses: list[Loss], *, now: datetime) -> list[str]:
    """Revokes those that were revoked, and puts the last limits of the others back."""
    last = {loss.key: loss.limits for loss in losses if loss.key is not None}
    wanted = select(ApiKey).where(ApiKey.id.in_(last), ApiKey.revoked_at.is_(None))
    changed = []
    for key in session.scalars(wanted.order_by(ApiKey.id)).all():
        left = last[key.id]
        if left is None:
            key.revoked_at = now
        elif not limits.put_back(key, left):
            continue
        changed.append(key.id)
    session.flush()
    return changed


def _spend_codes(session: Session, losses: list[Loss], *, now: datetime) -> None:
    named = {loss.code for loss in losses if loss.code is not None}
    unused = (RecoveryCode.id.in_(named), RecoveryCode.used_at.is_(None))
    session.execute(update(RecoveryCode).where(*unused).values(used_at=now))


def _end_all(session: Session, *, now: datetime) -> int:
    """Sessions, one-time secrets and invitations. How many sessions."""
    unused = OneTimeToken.used_at.is_(None)
    session.execute(update(OneTimeToken).where(unused).values(used_at=now))
    open_ones = (Invitation.used_at.is_(None), Invitation.revoked_at.is_(None))
    session.execute(update(Invitation).where(*open_ones).values(revoked_at=now))
    living = update(UserSession).where(UserSession.revoked_at.is_(None)).values(revoked_at=now)
    return len(session.scalars(living.returning(UserSession.id)).all())


def _move_on(session: Session, marks: Marks, *, now: datetime) -> None:
    """Numbers go on after those that were given, and who follows revocations must begin anew."""
    last = max(session.scalar(select(func.max(Revocation.seq))) or 0, marks.revocation)
    session.execute(delete(Revocation))
    # One number is left out: whoever had come to the last must see that something is missing.
    anew = Revocation(
        seq=last + 2, kind=RevocationKind.USER, subject="usr_", created_at=now, cuts=False
    )
    session.add(anew)
    session.flush()
    if session.get_bind().dialect.name == "postgresql":
        sequence = "pg_get_serial_sequence('revocation', 'seq')"
        session.execute(text(f"SELECT setval({sequence}, :last)"), {"last": anew.seq})
    writes = max(_writes(session), marks.writes)
    session.execute(update(Epoch).where(Epoch.id == 1).values(writes=writes))
