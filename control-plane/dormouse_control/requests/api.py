"""HTTP of what waits for a decision."""

from fastapi import APIRouter

from dormouse_control import rules
from dormouse_control.deps import AfterDep, CallerDep, LimitDep, PlatformDep, ReadingDep
from dormouse_control.pages import Cursors
from dormouse_control.requests import operations
from dormouse_control.requests.schemas import RequestRead
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1/requests")


@router.get("", response_model=Page[RequestRead], dependencies=[rules.OPERATOR])
def list_requests(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[RequestRead]:
    """Accounts and entitlements that wait for a decision, oldest first."""
    cursors = Cursors(platform.sealing, caller.id, "requests", {})
    rows, following = operations.pending(reading, cursors=cursors, after=after, limit=limit)
    return Page(items=[RequestRead.model_validate(row) for row in rows], next=following)
