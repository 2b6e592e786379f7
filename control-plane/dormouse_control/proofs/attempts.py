"""How often somebody failed to prove who they are, and how long the next has to wait.

Every try is counted before it is looked at, by one UPDATE that also says whether it is allowed, so
that no burst gets in more than one at a time would. A success takes the count back.
"""

import ipaddress
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from dormouse_control.db import insert_new
from dormouse_control.errors import TooManyAttempts
from dormouse_control.identity import emails
from dormouse_control.proofs.models import SignInAttempts
from dormouse_control.sealing import Sealing

FREE = 10
MOST = 100
"""Failures after which only a reset of the password, or an administrator, helps (NIST SP 800-63B-4,
3.2.2)."""

LONGEST_PAUSE = 900
_STRANGERS = ""
_DAY = timedelta(days=1)
_KNOWN_FOR = timedelta(days=180)


@dataclass(frozen=True)
class Attempt:
    """One that was counted: on which row, and where it really came from."""

    account: str
    counted: str
    source: str


def pause_seconds(failures: int) -> int:
    """Between the last try and the next, after so many failures: 0 ten times, then 1, 2, 4 … 900.

    Never decreases; `_allowed` relies on that.
    """
    if failures < FREE:
        return 0
    return min(1 << min(failures - FREE, 20), LONGEST_PAUSE)


def count(
    session: Session, *, email: str, address: str | None, sealing: Sealing, now: datetime
) -> Attempt:
    """To be committed before the proof is looked at. Raises `TooManyAttempts`."""
    account, source = account_of(email, sealing), _source_of(address, sealing)
    counted = source if _is_known(session, account, source) else _STRANGERS
    if counted == _STRANGERS:
        _add(session, account, _STRANGERS, now=now)
    row = (SignInAttempts.account == account, SignInAttempts.source == counted)
    allowed = session.scalar(
        update(SignInAttempts)
        .where(*row, _allowed(now))
        .values(failures=SignInAttempts.failures + 1, last_at=now)
        .returning(SignInAttempts.failures)
        .execution_options(synchronize_session=False)
    )
    if allowed is None:
        raise _refusal(session.scalar(select(SignInAttempts).where(*row)), now=now)
    return Attempt(account=account, counted=counted, source=source)


def succeed(session: Session, attempt: Attempt, *, now: datetime) -> None:
    """The proof was right: the count begins anew, and the address has one of its own from now."""
    session.execute(
        update(SignInAttempts)
        .where(SignInAttempts.account == attempt.account, SignInAttempts.source == attempt.counted)
        .values(failures=0, last_at=now)
        .execution_options(synchronize_session=False)
    )
    if attempt.source not in (_STRANGERS, attempt.counted):
        _add(session, attempt.account, attempt.source, now=now)


def clear(session: Session, *, email: str, sealing: Sealing) -> None:
    """Forget all failures of the account, and the addresses that it knows."""
    session.execute(
        delete(SignInAttempts).where(SignInAttempts.account == account_of(email, sealing))
    )


def prune(session: Session, *, now: datetime) -> None:
    """Drop failures that no longer matter, and addresses that nobody has come from for long."""
    few = and_(SignInAttempts.source == _STRANGERS, SignInAttempts.failures < FREE)
    session.execute(
        delete(SignInAttempts).where(
            or_(
                and_(few, SignInAttempts.last_at < now - _DAY),
                and_(SignInAttempts.failures < FREE, SignInAttempts.last_at < now - _KNOWN_FOR),
            )
        )
    )


def account_of(email: str, sealing: Sealing) -> str:
    """The same for every spelling of an address, whether or not there is such an account."""
    return sealing.mac("sign-in account", emails.folded(email))


def _source_of(address: str | None, sealing: Sealing) -> str:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return _STRANGERS
    if isinstance(found, ipaddress.IPv6Address):
        # A household has a /64, and changes addresses within it all day.
        known = str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    else:
        known = str(found)
    return sealing.mac("sign-in source", known)


def _is_known(session: Session, account: str, source: str) -> bool:
    row = (SignInAttempts.account == account, SignInAttempts.source == source)
    return session.scalar(select(SignInAttempts.source).where(*row)) is not None


def _add(session: Session, account: str, source: str, *, now: datetime) -> None:
    row = {"account": account, "source": source, "failures": 0, "last_at": now}
    insert_new(
        session,
        SignInAttempts,
        [row],
        unique=(SignInAttempts.account, SignInAttempts.source),
        returning=SignInAttempts.account,
    )


def _allowed(now: datetime) -> ColumnElement[bool]:
    """`pause_seconds` as a condition: a clause for the last count of each pause."""
    pauses = [pause_seconds(failures) for failures in range(MOST)]
    last = {pause: failures for failures, pause in enumerate(pauses)}
    return or_(
        *(
            and_(
                SignInAttempts.failures <= failures,
                SignInAttempts.last_at <= now - timedelta(seconds=pause),
            )
            for pause, failures in last.items()
        )
    )


def _refusal(found: SignInAttempts | None, *, now: datetime) -> TooManyAttempts:
    left = 0.0  # None: cleared at this moment
    if found is not None:
        left = pause_seconds(found.failures) - (now - found.last_at).total_seconds()
    if found is not None and found.failures >= MOST:
        left = LONGEST_PAUSE
    return TooManyAttempts(
        "Too many attempts failed. Wait, or set a new password by mail.",
        retry_after=max(1, math.ceil(left)),
    )
