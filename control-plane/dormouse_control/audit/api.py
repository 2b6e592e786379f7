"""HTTP of the audit log."""

from typing import Annotated

from fastapi import APIRouter, Query

from dormouse_control import rules
from dormouse_control.audit import operations
from dormouse_control.audit.models import Outcome
from dormouse_control.audit.operations import Filters, Head, Verified
from dormouse_control.audit.schemas import AuditRead, VerificationRead
from dormouse_control.deps import AfterDep, CallerDep, LimitDep, PlatformDep, ReadingDep
from dormouse_control.pages import Cursors
from dormouse_control.wire import Page, When

router = APIRouter(prefix="/api/v1/audit")

Word = Annotated[str | None, Query(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]
Expect = Annotated[
    str | None,
    Query(
        pattern=r"^(0|[1-9][0-9]{0,17}):[0-9a-f]{64}$",
        description="SEQ:HASH as noted earlier: proves that all up to that entry is still there.",
    ),
]


@router.get("", response_model=Page[AuditRead], dependencies=[rules.ADMINISTRATOR])
def list_audit(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    actor: Word = None,
    subject: Word = None,
    action: Word = None,
    outcome: Outcome | None = None,
    since: When | None = None,
    until: When | None = None,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[AuditRead]:
    """Who did what to whose rights, newest first. `action` may be a beginning."""
    filters = Filters(actor, subject, action, outcome, since, until)
    cursors = Cursors(platform.sealing, caller.id, "audit", filters.query())
    position = cursors.read(after)
    before = None if position is None else int(position)
    rows, following = operations.search(reading, filters, before=before, limit=limit)
    items = [AuditRead.model_validate(row) for row in rows]
    return Page(items=items, next=cursors.write(str(following)) if following else None)


@router.get("/verification", response_model=VerificationRead, dependencies=[rules.ADMINISTRATOR])
def verify_audit(reading: ReadingDep, expect: Expect = None) -> Verified:
    """Whether the log is as it was written: nothing changed, taken out or put in."""
    if expect is None:
        return operations.verify(reading)
    seq, _, hash = expect.partition(":")
    return operations.verify(reading, expect=Head(int(seq), hash))
