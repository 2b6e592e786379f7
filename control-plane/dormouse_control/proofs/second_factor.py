"""Rules of the second factor: begun with a password, confirmed by a code, used once per code."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.errors import AlreadyExists, CodeRequired, InvalidValue
from dormouse_control.identity.models import User
from dormouse_control.identity.passwords import WITH_SECOND_FACTOR
from dormouse_control.proofs import recovery, totp
from dormouse_control.sealing import Sealing

_PURPOSE = "totp secret"


@dataclass(frozen=True)
class Enrolment:
    """Shown once, and worth nothing before a code confirms it."""

    secret: str
    uri: str


def is_on(user: User) -> bool:
    return user.totp_confirmed_at is not None


def shortest_password(user: User, *, alone: int) -> int:
    """Fewest characters that the user's may have; `alone` if nothing else protects the account."""
    return WITH_SECOND_FACTOR if is_on(user) else alone


def begin(session: Session, *, user_id: str, email: str, sealing: Sealing) -> Enrolment:
    """In place of a secret that was never confirmed. Raises `AlreadyExists`."""
    secret = totp.new_secret()
    begun = session.scalar(
        update(User)
        .where(User.id == user_id, User.totp_confirmed_at.is_(None))
        .values(totp_sealed=sealing.seal(_PURPOSE, secret.encode()), totp_last_step=None)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    )
    if begun is None:
        raise AlreadyExists("Your account has a second factor. Remove it first.")
    return Enrolment(secret=secret, uri=totp.uri(secret, email))


def confirm(
    session: Session, *, user_id: str, code: str, sealing: Sealing, now: datetime, actor: Actor
) -> list[str]:
    """From now on it counts; the recovery codes. Raises `InvalidValue`."""
    user = session.get_one(User, user_id)
    if user.totp_sealed is None or is_on(user):
        raise InvalidValue("There is no second factor that waits for a code. Begin again.")
    step = totp.step_of(_secret(user.totp_sealed, sealing), code, now=now)
    confirmed = step and session.scalar(
        update(User)
        .where(
            User.id == user_id,
            User.totp_confirmed_at.is_(None),
            User.totp_sealed == user.totp_sealed,
        )
        .values(totp_confirmed_at=now, totp_last_step=step)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    )
    if confirmed is None:
        raise InvalidValue(
            "The code is not the one of this moment. Check the clock of your phone.", param="code"
        )
    codes = recovery.replace_all(session, user_id=user_id, sealing=sealing)
    record(session, "second_factor.add", actor=actor, subject=user_id, now=now)
    return codes


def demand(
    session: Session, user: User, code: str | None, *, sealing: Sealing, now: datetime
) -> None:
    """Use up a code of the app, or a recovery code. Raises `CodeRequired`."""
    if not code:
        raise CodeRequired("This account needs a code of its second factor too.")
    if not (
        _use_code(session, user, code, sealing=sealing, now=now)
        or recovery.use(session, code, user_id=user.id, sealing=sealing, now=now)
    ):
        raise CodeRequired("The code is wrong, or was used before. Wait for the next one.")


def remove(session: Session, *, user_id: str, now: datetime, actor: Actor) -> None:
    """The password alone is enough from now on."""
    session.execute(
        update(User)
        .where(User.id == user_id)
        .values(totp_sealed=None, totp_confirmed_at=None, totp_last_step=None)
    )
    recovery.remove_all(session, user_id=user_id)
    record(session, "second_factor.remove", actor=actor, subject=user_id, now=now)


def _use_code(session: Session, user: User, code: str, *, sealing: Sealing, now: datetime) -> bool:
    if user.totp_sealed is None:
        return False
    step = totp.step_of(_secret(user.totp_sealed, sealing), code.strip(), now=now)
    if step is None:
        return False
    # Later steps only: a code that somebody saw is good for nothing once it was used.
    unused = or_(User.totp_last_step.is_(None), User.totp_last_step < step)
    used = session.scalar(
        update(User)
        .where(User.id == user.id, unused)
        .values(totp_last_step=step)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    )
    return used is not None


def _secret(sealed: str, sealing: Sealing) -> str:
    return sealing.unseal(_PURPOSE, sealed).decode()
