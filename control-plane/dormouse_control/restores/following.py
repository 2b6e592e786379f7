"""Keeps the journal in step with the database: at every commit, whoever makes it."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import cast

import structlog
from sqlalchemy import Table, event, select, update
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction, sessionmaker

from dormouse_control.entitlements.operations import rights
from dormouse_control.errors import Unavailable
from dormouse_control.identity.models import (
    ApiKey,
    Revocation,
    RevocationKind,
    User,
    UserSession,
)
from dormouse_control.oidc.models import OidcIdentity
from dormouse_control.proofs.models import RecoveryCode
from dormouse_control.restores import limits
from dormouse_control.restores.journal import Journal, Loss
from dormouse_control.restores.models import Epoch

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]

_WRITES = "restores.writes"
_REVOKED = "restores.revoked"
_SPENT = "restores.spent"
_RECENT = timedelta(minutes=1)
"""How old at most a mark is that this very transaction made."""

_WRITES_COLUMN = cast(Table, Epoch.__table__).c.writes
_COUNT = (
    update(cast(Table, Epoch.__table__)).values(writes=_WRITES_COLUMN + 1).returning(_WRITES_COLUMN)
)


def follow(sessions: sessionmaker[Session], journal: Journal, clock: Clock) -> None:
    """From now on every commit of these sessions is counted, and losses are noted before it."""

    def before_commit(session: Session) -> None:
        if session.in_nested_transaction():
            return
        session.flush()
        writes = session.connection().execute(_COUNT).scalar_one_or_none()
        session.info[_WRITES] = writes
        losses = list(_losses(session, writes=writes or 0, now=clock()))
        if losses:
            try:
                journal.append(losses)
            except OSError as error:
                log.exception("loss_not_noted")
                raise Unavailable("This cannot be noted on disk now. Try again.") from error

    def after_commit(session: Session) -> None:
        if session.in_nested_transaction():
            return
        revoked = session.info.pop(_REVOKED, [])
        last = max((each.seq for each in revoked), default=0)
        journal.advance(session.info.pop(_WRITES, None) or 0, last)

    event.listen(sessions, "before_commit", before_commit)
    event.listen(sessions, "after_commit", after_commit)
    event.listen(sessions, "after_flush", _gather)
    event.listen(sessions, "do_orm_execute", _spot)
    event.listen(sessions, "after_rollback", _forget)


def _gather(session: Session, _flushed: UOWTransaction) -> None:
    new = [each for each in session.new if isinstance(each, Revocation)]
    if new:
        session.info.setdefault(_REVOKED, []).extend(new)


def _spot(executed: ORMExecuteState) -> None:
    mapper = executed.bind_mapper if executed.is_update else None
    if mapper is not None and mapper.class_ is RecoveryCode:
        executed.session.info[_SPENT] = True


def _forget(session: Session) -> None:
    for name in (_REVOKED, _SPENT, _WRITES):
        session.info.pop(name, None)


def _losses(session: Session, *, writes: int, now: datetime) -> Iterator[Loss]:
    # A gain is noted too: it says that an earlier loss is over.
    for each in session.info.get(_REVOKED, ()):
        key = None
        if each.kind is RevocationKind.KEY:
            key = session.get(ApiKey, each.subject, populate_existing=True)
        yield from _left(session, _owner(session, each), writes=writes, now=now, key=key)
    if session.info.pop(_SPENT, False):
        recent = select(RecoveryCode).where(RecoveryCode.used_at > now - _RECENT)
        for code in session.scalars(recent):
            yield from _left(session, code.user_id, writes=writes, now=now, code=code.id)


def _left(
    session: Session,
    user_id: str | None,
    *,
    writes: int,
    now: datetime,
    key: ApiKey | None = None,
    code: str | None = None,
) -> Iterator[Loss]:
    user = session.get(User, user_id, populate_existing=True)
    if user is not None:
        may = rights(session, user_id=user.id, now=now)
        linked = select(OidcIdentity.id).where(OidcIdentity.user_id == user.id)
        yield Loss(
            writes=writes,
            time=now.timestamp(),
            user=user.id,
            status=user.status.value,
            role=user.role.value,
            password=fingerprint(user.password_hash),
            services=sorted(may),
            ends={service: end.isoformat() for service, end in may.items() if end is not None},
            tier=user.tier,
            identities=sorted(session.scalars(linked)),
            key=key.id if key else None,
            limits=limits.written(key) if key and key.revoked_at is None else None,
            code=code,
        )


def _owner(session: Session, revoked: Revocation) -> str | None:
    if revoked.kind is RevocationKind.USER:
        return revoked.subject
    table = ApiKey if revoked.kind is RevocationKind.KEY else UserSession
    return session.scalar(select(table.user_id).where(table.id == revoked.subject))


def fingerprint(password_hash: str | None) -> str | None:
    return password_hash and hashlib.sha256(password_hash.encode()).hexdigest()[:16]
