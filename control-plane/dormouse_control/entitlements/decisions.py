"""What others decide about a user's entitlements: granted, approved, refused, taken away.

Operators decide what was asked for, and never for themselves; administrators also what was not.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.db import insert_new
from dormouse_control.entitlements import operations
from dormouse_control.entitlements.models import Entitlement, EntitlementStatus
from dormouse_control.entitlements.schemas import Decision
from dormouse_control.errors import InvalidValue, NotFound, NotPermitted
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind, Role
from dormouse_control.naming import new_id
from dormouse_control.users import operations as users


@dataclass(frozen=True)
class Subject:
    """Whose right to what."""

    user: str
    service: str


def grant(
    session: Session,
    subject: Subject,
    *,
    expires_at: datetime | None,
    reason: str | None,
    role: Role,
    actor: Actor,
    now: datetime,
) -> Decision:
    """Grant or approve; `role` is the actor's. Raises `NotFound` or `NotPermitted`."""
    users.hold(session, subject.user)
    check_end(expires_at, now=now)
    _check_not_own(subject, role=role, actor=actor)
    decided = _decided(EntitlementStatus.ACTIVE, expires_at, reason, actor=actor, now=now)
    found = _decide(session, subject, decided)
    if found is None and role is not Role.ADMINISTRATOR:
        raise NotPermitted("Only an administrator may grant what was not asked for.")
    found = found or _upsert(session, subject, decided)
    _note(session, "entitlement.grant", subject, decided, actor=actor, now=now)
    # An earlier end than before is learnt from this too.
    revocations.record(session, RevocationKind.USER, subject.user, now=now)
    return _read(found, now=now)


def refuse(
    session: Session,
    subject: Subject,
    *,
    reason: str | None,
    role: Role,
    actor: Actor,
    now: datetime,
) -> Decision:
    """Raises `NotFound` if nobody waits for this decision."""
    users.hold(session, subject.user)
    _check_not_own(subject, role=role, actor=actor)
    decided = _decided(EntitlementStatus.REFUSED, None, reason, actor=actor, now=now)
    found = _decide(session, subject, decided)
    if found is None:
        raise NotFound("This user does not wait for such a service.")
    _note(session, "entitlement.refuse", subject, decided, actor=actor, now=now)
    return _read(found, now=now)


def take_away(
    session: Session, subject: Subject, *, reason: str | None, actor: Actor, now: datetime
) -> None:
    """Raises `NotFound` if the user has none of their own. The reason is only in the audit log."""
    users.hold(session, subject.user)
    if not operations.remove(session, user_id=subject.user, service=subject.service):
        raise NotFound("This user has no such entitlement of their own.")
    details = {"service": subject.service, "reason": reason}
    record(
        session,
        "entitlement.take_away",
        actor=actor,
        subject=subject.user,
        now=now,
        details=details,
    )
    operations.announce_loss(session, user_id=subject.user, services=[subject.service], now=now)


def check_end(expires_at: datetime | None, *, now: datetime) -> None:
    """Raises `InvalidValue` for an end that has passed."""
    if expires_at is not None and expires_at <= now:
        raise InvalidValue("expires_at lies in the past.", param="expires_at")


def _check_not_own(subject: Subject, *, role: Role, actor: Actor) -> None:
    if role is not Role.ADMINISTRATOR and subject.user == actor.id:
        raise NotPermitted("Nobody decides what they asked for themselves.")


def _decided(
    status: EntitlementStatus,
    expires_at: datetime | None,
    reason: str | None,
    *,
    actor: Actor,
    now: datetime,
) -> dict[str, object]:
    return {
        "status": status,
        "expires_at": expires_at,
        "reason": reason,
        "decided_by": actor.id,
        "decided_at": now,
    }


def _decide(session: Session, subject: Subject, decided: dict[str, object]) -> Entitlement | None:
    """One UPDATE: of two decisions at once, one finds nobody waiting."""
    return _changed(session, subject, decided, only_pending=True)


def _upsert(session: Session, subject: Subject, decided: dict[str, object]) -> Entitlement:
    row = {
        "id": new_id("ent"),
        "user_id": subject.user,
        "service": subject.service,
        "created_at": decided["decided_at"],
        **decided,
    }
    unique = (Entitlement.user_id, Entitlement.service)
    insert_new(session, Entitlement, [row], unique=unique, returning=Entitlement.id)
    found = _changed(session, subject, decided, only_pending=False)
    if found is None:
        raise NotFound("This entitlement was taken away at this moment.")
    return found


def _changed(
    session: Session, subject: Subject, decided: dict[str, object], *, only_pending: bool
) -> Entitlement | None:
    wanted = update(Entitlement).where(
        Entitlement.user_id == subject.user, Entitlement.service == subject.service
    )
    if only_pending:
        wanted = wanted.where(Entitlement.status == EntitlementStatus.PENDING)
    return session.scalar(
        wanted.values(**decided).returning(Entitlement),
        execution_options={"populate_existing": True},
    )


def _note(
    session: Session,
    action: str,
    subject: Subject,
    decided: dict[str, object],
    *,
    actor: Actor,
    now: datetime,
) -> None:
    end = decided["expires_at"]
    details = {
        "service": subject.service,
        "expires_at": end.isoformat() if isinstance(end, datetime) else None,
    }
    record(session, action, actor=actor, subject=subject.user, now=now, details=details)


def _read(row: Entitlement, *, now: datetime) -> Decision:
    return Decision(
        user=row.user_id,
        service=row.service,
        status=operations.standing(row.status, row.expires_at, now=now),
        created_at=row.created_at,
        expires_at=row.expires_at,
        reason=row.reason,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
    )
