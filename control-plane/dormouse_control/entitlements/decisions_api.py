"""HTTP of other people's entitlements."""

from typing import Annotated

from fastapi import APIRouter, Query

from dormouse_control import rules
from dormouse_control.catalog.operations import find_service
from dormouse_control.deps import ActorDep, CallerDep, IdDep, PlatformDep, SessionDep
from dormouse_control.entitlements import decisions
from dormouse_control.entitlements.api import ServicePath
from dormouse_control.entitlements.decisions import Subject
from dormouse_control.entitlements.schemas import Decision, Grant, LastingReason, Refusal
from dormouse_control.idempotency.route import RepeatableRoute

router = APIRouter(prefix="/api/v1/users/{id}/entitlements/{service}", route_class=RepeatableRoute)


@router.put("", response_model=Decision, dependencies=[rules.OPERATOR])
def grant_entitlement(
    id: IdDep,
    service: ServicePath,
    body: Grant,
    session: SessionDep,
    caller: CallerDep,
    actor: ActorDep,
    platform: PlatformDep,
) -> Decision:
    """Approve what somebody asked for; administrators also grant what nobody asked for."""
    return decisions.grant(
        session,
        Subject(user=id, service=find_service(platform.catalog, service).id),
        expires_at=body.expires_at,
        reason=body.reason,
        role=caller.role,
        actor=actor,
        now=platform.clock(),
    )


@router.post("/refuse", response_model=Decision, dependencies=[rules.OPERATOR])
def refuse_entitlement(
    id: IdDep,
    service: ServicePath,
    body: Refusal,
    session: SessionDep,
    caller: CallerDep,
    actor: ActorDep,
    platform: PlatformDep,
) -> Decision:
    """Refuse what somebody asked for. They may ask again."""
    return decisions.refuse(
        session,
        Subject(user=id, service=service),
        reason=body.reason,
        role=caller.role,
        actor=actor,
        now=platform.clock(),
    )


@router.delete("", status_code=204, dependencies=[rules.ADMINISTRATOR])
def take_entitlement_away(
    id: IdDep,
    service: ServicePath,
    session: SessionDep,
    actor: ActorDep,
    platform: PlatformDep,
    reason: Annotated[LastingReason | None, Query()] = None,
) -> None:
    """Take a user's own entitlement away, at once: calls that run on the service end too."""
    subject = Subject(user=id, service=service)
    decisions.take_away(session, subject, reason=reason, actor=actor, now=platform.clock())
