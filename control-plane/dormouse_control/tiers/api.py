"""HTTP of tiers."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from dormouse_control import rules
from dormouse_control.deps import (
    ActorDep,
    AfterDep,
    CallerDep,
    LimitDep,
    PlatformDep,
    ReadingDep,
    SessionDep,
)
from dormouse_control.idempotency.route import RepeatableRoute
from dormouse_control.pages import Cursors
from dormouse_control.tiers import operations
from dormouse_control.tiers.schemas import TierRead, TierWrite
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1/tiers", route_class=RepeatableRoute)

TierId = Annotated[str, Path(max_length=32, pattern=r"^[a-z0-9][a-z0-9-]*$")]


@router.get("", response_model=Page[TierRead], dependencies=[rules.SIGNED_IN])
def list_tiers(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[TierRead]:
    """Tiers and their limits."""
    cursors = Cursors(platform.sealing, caller.id, "tiers", {})
    rows, following = operations.list_tiers(reading, cursors=cursors, after=after, limit=limit)
    return Page(items=rows, next=following)


@router.put(
    "/{id}",
    response_model=TierRead,
    responses={201: {"model": TierRead}},
    dependencies=[rules.ADMINISTRATOR],
)
def put_tier(
    id: TierId,
    body: TierWrite,
    session: SessionDep,
    actor: ActorDep,
    platform: PlatformDep,
    response: Response,
) -> TierRead:
    """Make a tier (201), or change all of it."""
    tier, new = operations.put(session, tier_id=id, wanted=body, actor=actor, now=platform.clock())
    response.status_code = 201 if new else 200
    return tier


@router.delete("/{id}", status_code=204, dependencies=[rules.ADMINISTRATOR])
def delete_tier(id: TierId, session: SessionDep, actor: ActorDep, platform: PlatformDep) -> None:
    """Delete a tier that nobody has."""
    operations.remove(session, tier_id=id, actor=actor, now=platform.clock())
