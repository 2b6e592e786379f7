"""Rules of entitlements: who may call which service.

Every change is a revocation of the user, because authorizers remember what a user may call.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dormouse.catalog import Service
from dormouse_control.db import insert_new
from dormouse_control.entitlements.models import Entitlement, EntitlementStatus
from dormouse_control.errors import NotFound
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind
from dormouse_control.naming import new_id


def entitle(
    session: Session, *, user_id: str, service: Service, now: datetime
) -> tuple[Entitlement, bool]:
    """The user's entitlement, and whether it is new. Asking twice, also at once, gives one."""
    open_to_all = service.spec.access == "open"
    row = {
        "id": new_id("ent"),
        "user_id": user_id,
        "service": service.id,
        "status": EntitlementStatus.ACTIVE if open_to_all else EntitlementStatus.PENDING,
        "created_at": now,
    }
    unique = (Entitlement.user_id, Entitlement.service)
    new = insert_new(session, Entitlement, [row], unique=unique, returning=Entitlement.id)
    if new:
        revocations.record(session, RevocationKind.USER, user_id, now=now)
    wanted = select(Entitlement).where(
        Entitlement.user_id == user_id, Entitlement.service == service.id
    )
    return session.scalars(wanted).one(), bool(new)


def list_entitlements(reading: Session, *, user_id: str) -> Sequence[Entitlement]:
    """By service. There are never more than services."""
    wanted = select(Entitlement).where(Entitlement.user_id == user_id)
    return reading.scalars(wanted.order_by(Entitlement.service)).all()


def active_services(reading: Session, *, user_id: str) -> list[str]:
    """The services that the user may call, sorted."""
    return sorted(
        found.service
        for found in list_entitlements(reading, user_id=user_id)
        if found.status is EntitlementStatus.ACTIVE
    )


def give_up(session: Session, *, user_id: str, service: str, now: datetime) -> None:
    """Raises `NotFound` if there is nothing to give up."""
    wanted = (Entitlement.user_id == user_id, Entitlement.service == service)
    gone = session.scalar(delete(Entitlement).where(*wanted).returning(Entitlement.id))
    if gone is None:
        raise NotFound("You are not entitled to such a service.")
    revocations.record(session, RevocationKind.USER, user_id, now=now)
