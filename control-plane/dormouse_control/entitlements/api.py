"""HTTP of entitlements."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from dormouse_control.catalog.operations import find_service
from dormouse_control.deps import CallerDep, PlatformDep, ReadingDep, SessionDep
from dormouse_control.entitlements import operations
from dormouse_control.entitlements.models import Entitlement
from dormouse_control.entitlements.schemas import EntitlementCreate, EntitlementRead
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1/entitlements")


@router.post("", status_code=201, response_model=EntitlementRead)
def entitle(
    body: EntitlementCreate,
    caller: CallerDep,
    session: SessionDep,
    platform: PlatformDep,
    response: Response,
) -> Entitlement:
    """Ask for the right to call a service; 200 if you have asked before."""
    service = find_service(platform.catalog, body.service, param="service")
    entitlement, new = operations.entitle(
        session, user_id=caller.id, service=service, now=platform.clock()
    )
    response.status_code = 201 if new else 200
    return entitlement


@router.get("", response_model=Page[EntitlementRead])
def list_entitlements(caller: CallerDep, reading: ReadingDep) -> Page[EntitlementRead]:
    """What you may call, or have asked for."""
    rows = operations.list_entitlements(reading, user_id=caller.id)
    return Page(items=[EntitlementRead.model_validate(row) for row in rows])


@router.delete("/{service}", status_code=204)
def give_up(
    service: Annotated[str, Path(max_length=100, pattern=r"^[\w-]+$")],
    caller: CallerDep,
    session: SessionDep,
    platform: PlatformDep,
) -> None:
    """Give up the right to call a service."""
    operations.give_up(session, user_id=caller.id, service=service, now=platform.clock())
