"""Rules of letting somebody in again: who lost the phone, or is kept out by guesses of others."""

from datetime import datetime

from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.errors import Conflict
from dormouse_control.identity import revocations, sessions
from dormouse_control.identity.models import RevocationKind
from dormouse_control.mail import outbox
from dormouse_control.mail.models import MailKind
from dormouse_control.proofs import attempts, second_factor, tokens
from dormouse_control.sealing import Sealing
from dormouse_control.users import operations


def remove_second_factor(
    session: Session, *, user_id: str, sealing: Sealing, actor: Actor, now: datetime
) -> None:
    """The password alone is enough again, and whoever was signed in starts anew.

    Raises `NotFound` or `Conflict`. One that was begun and not confirmed goes too.
    """
    user, _ = operations.lock(session, user_id)
    if user.id == actor.id:
        raise Conflict(
            "Remove your own with DELETE /api/v1/me/second-factor: that asks for a code."
        )
    second_factor.remove(session, user_id=user.id, now=now, actor=actor)
    address = str(user.email)
    attempts.clear(session, email=address, sealing=sealing)
    sessions.end_all(session, user_id=user.id, now=now, actor=actor)
    tokens.end_all(session, user_id=user.id, now=now)
    revocations.record(session, RevocationKind.USER, user.id, now=now)
    outbox.enqueue(
        session, MailKind.CHANGED, address=address, user_id=user.id, about="second_factor", now=now
    )


def forget_attempts(
    session: Session, *, user_id: str, sealing: Sealing, actor: Actor, now: datetime
) -> None:
    """Signing in may be tried at once, however often it failed. Raises `NotFound`."""
    user = operations.find_living(session, user_id)
    attempts.clear(session, email=str(user.email), sealing=sealing)
    record(session, "attempts.clear", actor=actor, subject=user.id, now=now)
