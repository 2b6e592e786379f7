"""HTTP of what all members of a group may call."""

from fastapi import APIRouter

from dormouse_control import rules
from dormouse_control.catalog.operations import find_service
from dormouse_control.deps import ActorDep, IdDep, PlatformDep, SessionDep
from dormouse_control.entitlements.api import ServicePath
from dormouse_control.entitlements.schemas import Grant
from dormouse_control.groups import granting
from dormouse_control.groups.models import GroupEntitlement
from dormouse_control.groups.schemas import GroupEntitlementRead
from dormouse_control.idempotency.route import RepeatableRoute

router = APIRouter(prefix="/api/v1/groups/{id}/entitlements/{service}", route_class=RepeatableRoute)


@router.put("", response_model=GroupEntitlementRead, dependencies=[rules.ADMINISTRATOR])
def grant_to_group(
    id: IdDep,
    service: ServicePath,
    body: Grant,
    session: SessionDep,
    actor: ActorDep,
    platform: PlatformDep,
) -> GroupEntitlement:
    """Let all members call a service."""
    return granting.grant(
        session,
        group_id=id,
        service=find_service(platform.catalog, service).id,
        expires_at=body.expires_at,
        reason=body.reason,
        actor=actor,
        now=platform.clock(),
    )


@router.delete("", status_code=204, dependencies=[rules.ADMINISTRATOR])
def take_from_group(
    id: IdDep, service: ServicePath, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> None:
    """Take a service away from all who have it by this group alone, at once."""
    granting.take_away(session, group_id=id, service=service, actor=actor, now=platform.clock())
