"""HTTP of what waits for a decision."""

from fastapi import APIRouter

from dormouse_control import rules
from dormouse_control.approvals import operations
from dormouse_control.approvals.schemas import ApprovalRead
from dormouse_control.deps import AfterDep, CallerDep, LimitDep, PlatformDep, ReadingDep
from dormouse_control.pages import Cursors
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1/approvals")


@router.get("", response_model=Page[ApprovalRead], dependencies=[rules.OPERATOR])
def list_approvals(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[ApprovalRead]:
    """Accounts and entitlements that wait for a decision, oldest first."""
    cursors = Cursors(platform.sealing, caller.id, "approvals", {})
    rows, following = operations.pending(reading, cursors=cursors, after=after, limit=limit)
    return Page(items=[ApprovalRead.model_validate(row) for row in rows], next=following)
