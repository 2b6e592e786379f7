"""HTTP of one's own entitlements."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from dormouse_control import rules
from dormouse_control.catalog.operations import find_service
from dormouse_control.deps import ActorDep, CallerDep, PlatformDep, ReadingDep, SessionDep
from dormouse_control.entitlements import operations
from dormouse_control.entitlements.schemas import EntitlementCreate, EntitlementRead
from dormouse_control.idempotency.route import RepeatableRoute
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1/entitlements", route_class=RepeatableRoute)

ServicePath = Annotated[str, Path(max_length=100, pattern=r"^[\w-]+$")]


@router.post(
    "",
    status_code=201,
    response_model=EntitlementRead,
    responses={200: {"model": EntitlementRead}},
    dependencies=[rules.FULL_CALLER],
)
def entitle(
    body: EntitlementCreate,
    session: SessionDep,
    actor: ActorDep,
    caller: CallerDep,
    platform: PlatformDep,
    response: Response,
) -> EntitlementRead:
    """Ask for the right to call a service; 200 if you have it or wait for it already."""
    service = find_service(platform.catalog, body.service, param="service")
    now = platform.clock()
    entitlement, new = operations.entitle(
        session, user_id=caller.id, service=service, reason=body.reason, actor=actor, now=now
    )
    response.status_code = 201 if new else 200
    return operations.read(entitlement, now=now)


@router.get("", response_model=Page[EntitlementRead], dependencies=[rules.FULL_CALLER])
def list_entitlements(
    caller: CallerDep, reading: ReadingDep, platform: PlatformDep
) -> Page[EntitlementRead]:
    """What you may call, by yourself or by a group, and what you have asked for."""
    found = operations.list_entitlements(reading, user_id=caller.id, now=platform.clock())
    return Page(items=found)


@router.delete("/{service}", status_code=204, dependencies=[rules.FULL_CALLER])
def give_up(
    service: ServicePath,
    caller: CallerDep,
    session: SessionDep,
    actor: ActorDep,
    platform: PlatformDep,
) -> None:
    """Give up your own right to call a service, or your request for it."""
    operations.give_up(
        session, user_id=caller.id, service=service, actor=actor, now=platform.clock()
    )
