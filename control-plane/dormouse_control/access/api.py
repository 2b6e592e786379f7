"""HTTP of the access review."""

from typing import Annotated, Any, Literal  # OpenAPI is JSON

from fastapi import APIRouter, Query, Response

from dormouse_control import rules
from dormouse_control.access import operations, tabular
from dormouse_control.access.operations import Review
from dormouse_control.access.schemas import AccessRead
from dormouse_control.deps import AfterDep, CallerDep, LimitDep, PlatformDep, ReadingDep
from dormouse_control.downloads import download
from dormouse_control.pages import Cursors
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1/access")

Word = Annotated[str | None, Query(max_length=100, pattern=r"^[\w-]+$")]
Days = Annotated[
    int | None, Query(ge=0, le=36500, description="Not used in so many days, or never.")
]
_CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}}
}


@router.get("", response_model=Page[AccessRead], responses=_CSV, dependencies=[rules.OPERATOR])
def review_access(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    user: Word = None,
    service: Word = None,
    unused_days: Days = None,
    format: Literal["json", "csv"] = "json",
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[AccessRead] | Response:
    """Who has access to what, by whom and why, and when they last used it. CSV has all pages."""
    review = Review(platform.catalog, platform.clock(), user, service, unused_days)
    if format == "csv":
        rows, columns = operations.everything(reading, review), list(AccessRead.model_fields)
        write = lambda file: tabular.write(file, columns=columns, rows=rows)  # noqa: E731  shorter
        return download(write, name="access.csv", kind="text/csv; charset=utf-8")
    query = {"user": user, "service": service, "unused_days": str(unused_days)}
    cursors = Cursors(platform.sealing, caller.id, "access", query)
    items, following = operations.page(reading, review, cursors=cursors, after=after, limit=limit)
    return Page(items=items, next=following)
