"""HTTP of usage."""

from fastapi import APIRouter

from dormouse_control import rules
from dormouse_control.deps import AfterDep, CallerDep, LimitDep, PlatformDep, ReadingDep
from dormouse_control.pages import Cursors
from dormouse_control.usage import operations
from dormouse_control.usage.schemas import UsagePage

router = APIRouter(prefix="/api/v1")


@router.get("/usage", response_model=UsagePage, dependencies=[rules.FULL_CALLER])
def usage(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> UsagePage:
    """Your calls to models, newest first, and what they cost."""
    cursors = Cursors(platform.sealing, caller.id, "usage", {})
    position = cursors.read(after)
    rows, following = operations.page(reading, user_id=caller.id, after=position, limit=limit)
    return UsagePage(
        items=[operations.read(row) for row in rows],
        totals=operations.totals(reading, user_id=caller.id),
        currency=platform.settings.currency,
        next=cursors.write(following) if following else None,
    )
