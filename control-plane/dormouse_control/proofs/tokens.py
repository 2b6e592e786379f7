"""One-time tokens, `id.mac`: good for one use of one kind, until they expire.

`mac` covers kind and id with a key that only the control plane has, so nothing secret is stored,
and exactly the text that was given out is accepted. Who uses it first is decided by one UPDATE.
"""

import re
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from dormouse_control.errors import InvalidOneTimeToken
from dormouse_control.naming import new_id
from dormouse_control.proofs.models import OneTimeToken, TokenKind
from dormouse_control.sealing import Sealing

LONGEST = 128
"""Characters of a text that may be a token; ours have 74."""

_FORM = re.compile(r"([a-z]{3}_[0-9a-z]{26})\.([0-9A-Za-z_-]{43})", re.ASCII)
_KEPT = timedelta(days=1)


def issue(
    session: Session,
    kind: TokenKind,
    *,
    life: timedelta,
    now: datetime,
    user_id: str | None = None,
    bound: str | None = None,
) -> OneTimeToken:
    """A new token; `write` makes the text of its id."""
    token = OneTimeToken(
        id=new_id("ott"),
        kind=kind,
        user_id=user_id,
        bound=bound,
        created_at=now,
        expires_at=now + life,
    )
    session.add(token)
    session.flush()
    return token


def peek(
    reading: Session, text: str, kind: TokenKind, *, sealing: Sealing, now: datetime
) -> OneTimeToken:
    """What `redeem` would give now. Raises `InvalidOneTimeToken`."""
    id = read(text, kind.value, sealing)
    found = reading.scalar(select(OneTimeToken).where(*_good(id, kind, now)))
    if found is None:
        raise refusal()
    return found


def redeem(
    session: Session, text: str, kind: TokenKind, *, sealing: Sealing, now: datetime
) -> OneTimeToken:
    """Use it up. Of several at once exactly one succeeds. Raises `InvalidOneTimeToken`."""
    id = read(text, kind.value, sealing)
    used = session.scalar(
        update(OneTimeToken)
        .where(*_good(id, kind, now))
        .values(used_at=now)
        .returning(OneTimeToken)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    if used is None:
        raise refusal()
    return used


def end_all(
    session: Session, *, user_id: str | None, now: datetime, kind: TokenKind | None = None
) -> None:
    """What is left of this user's; None has those that are nobody's yet."""
    wanted = [OneTimeToken.user_id == user_id, OneTimeToken.used_at.is_(None)]
    if kind is not None:
        wanted.append(OneTimeToken.kind == kind)
    session.execute(update(OneTimeToken).where(*wanted).values(used_at=now))


def prune(session: Session, *, now: datetime) -> None:
    """Drop what expired long ago."""
    session.execute(delete(OneTimeToken).where(OneTimeToken.expires_at < now - _KEPT))


def write(id: str, purpose: str, sealing: Sealing) -> str:
    """The text of an id that is good for this purpose."""
    return f"{id}.{sealing.mac(f'one-time {purpose}', id)}"


def read(text: str, purpose: str, sealing: Sealing) -> str:
    """The id in a text that `write` made. Raises `InvalidOneTimeToken`."""
    parts = _FORM.fullmatch(text)
    if parts is None or not sealing.is_mac(f"one-time {purpose}", parts[1], parts[2]):
        raise refusal()
    return parts[1]


def refusal() -> InvalidOneTimeToken:
    """One text for every reason, so that it tells nothing."""
    return InvalidOneTimeToken("This is not valid: wrong, used or expired.")


def _good(id: str, kind: TokenKind, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        OneTimeToken.id == id,
        OneTimeToken.kind == kind,
        OneTimeToken.used_at.is_(None),
        OneTimeToken.expires_at > now,
    )
