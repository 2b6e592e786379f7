"""Checks of a password: counted first, looked at outside of any transaction, believed inside one.

Whoever needs one calls `check_password` with no transaction open, and `accept` first thing in the
transaction of what the proof is for.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dormouse_control.errors import InvalidCredentials
from dormouse_control.identity import emails
from dormouse_control.identity.models import User, UserStatus
from dormouse_control.proofs import attempts
from dormouse_control.proofs.attempts import Attempt
from dormouse_control.wiring import Platform

# Who is unverified is told so by mail only: registering an address and signing in with the
# password just given would otherwise tell whether the address had an account before.
_GONE = (UserStatus.UNVERIFIED, UserStatus.DISABLED, UserStatus.ERASED)


@dataclass(frozen=True)
class Checked:
    """The password was right for `user` as it was then."""

    user: User
    attempt: Attempt
    renewed: str | None
    """The hash to keep instead, where hashing has become more expensive."""


def check_password(
    platform: Platform, *, email: str, password: str, address: str | None
) -> Checked:
    """Raises `InvalidCredentials`, after the same time and with the same text for every reason,
    `TooManyAttempts` or `Busy`.
    """
    renewed = None
    with platform.passwords.turn():  # first, so that nothing is counted that is not looked at
        attempt = count(platform, email=email, address=address)
        with platform.database.reads() as reading:
            user = reading.scalar(select(User).where(User.email == emails.folded(email)))
        known = user.password_hash if user else None
        right = platform.passwords.fits(password, known)
        if right and known is not None:
            renewed = platform.passwords.renewed(password, known)
    if user is None or not right or user.status in _GONE:
        raise _wrong()
    return Checked(user=user, attempt=attempt, renewed=renewed)


def count(platform: Platform, *, email: str, address: str | None) -> Attempt:
    """An attempt, in a transaction of its own. Raises `TooManyAttempts`."""
    with platform.database.sessions.begin() as session:
        return attempts.count(
            session, email=email, address=address, sealing=platform.sealing, now=platform.clock()
        )


def accept(session: Session, checked: Checked, *, now: datetime) -> User:
    """The user as it is now, and stays until the transaction ends.

    Raises `InvalidCredentials` if the password or the account changed meanwhile.
    """
    user = session.get(
        User, checked.user.id, with_for_update={"key_share": True}, populate_existing=True
    )
    if user is None or user.password_hash != checked.user.password_hash or user.status in _GONE:
        raise _wrong()
    if checked.renewed is not None:
        user.password_hash = checked.renewed
    attempts.succeed(session, checked.attempt, now=now)
    return user


def _wrong() -> InvalidCredentials:
    return InvalidCredentials("E-mail address or password is wrong.")
