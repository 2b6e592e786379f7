"""HTTP of usage: your own, and for operators everybody's."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any  # OpenAPI is JSON

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import StringConstraints
from sqlalchemy.orm import Session

from dormouse_control import rules
from dormouse_control.deps import AfterDep, CallerDep, LimitDep, PlatformDep, ReadingDep
from dormouse_control.downloads import download
from dormouse_control.identity.operations import Caller
from dormouse_control.pages import Cursors
from dormouse_control.usage import files, groups, operations
from dormouse_control.usage.export import Granularity, table
from dormouse_control.usage.files import Format
from dormouse_control.usage.filters import Filters, FiltersDep, Word
from dormouse_control.usage.schemas import UsageGroups, UsagePage, UserUsagePage
from dormouse_control.wiring import Platform

router = APIRouter(prefix="/api/v1/usage")

_GROUP = r"^(hour|day|month|user|key|service|model|tag:[a-z0-9][a-z0-9-]{0,31})$"
By = Annotated[
    list[Annotated[str, StringConstraints(pattern=_GROUP)]],
    Query(
        alias="group_by",
        min_length=1,
        max_length=4,
        description="hour, day, month, user, key, service, model, or tag:NAME.",
    ),
]
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {kind: {"schema": {"type": "string"}} for kind in files.TYPES.values()},
        "description": "A file.",
    }
}


@router.get("", response_model=UsagePage, dependencies=[rules.FULL_CALLER])
def usage(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    filters: FiltersDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> UsagePage:
    """Your calls to models, newest first, and what they cost."""
    found = _page(caller, reading, platform, replace(filters, user=caller.id), after, limit)
    return UsagePage.model_validate(found)


@router.get("/totals", response_model=UsageGroups, dependencies=[rules.FULL_CALLER])
def usage_totals(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    filters: FiltersDep,
    by: By = ["day"],  # noqa: B006  FastAPI copies it
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> UsageGroups:
    """Sums over your calls, by time, key, service, model or tag."""
    own = replace(filters, user=caller.id)
    return _groups(caller, reading, platform, own, by, after, limit)


@router.get(
    "/export", response_class=StreamingResponse, responses=_FILES, dependencies=[rules.FULL_CALLER]
)
def usage_export(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    filters: FiltersDep,
    format: Format = "csv",
    granularity: Granularity = "hour",
) -> StreamingResponse:
    """Your calls as a file: sums by hour, key, service, model and tags, or every call."""
    return _file(reading, platform, replace(filters, user=caller.id), format, granularity)


@router.get("/all", response_model=UserUsagePage, dependencies=[rules.OPERATOR])
def all_usage(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    filters: FiltersDep,
    user: Word = None,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> UserUsagePage:
    """Everybody's calls, newest first, and what they cost."""
    return _page(caller, reading, platform, replace(filters, user=user), after, limit)


@router.get("/all/totals", response_model=UsageGroups, dependencies=[rules.OPERATOR])
def all_usage_totals(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    filters: FiltersDep,
    by: By = ["day"],  # noqa: B006  FastAPI copies it
    user: Word = None,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> UsageGroups:
    """Sums over everybody's calls, by time, user, key, service, model or tag."""
    asked = replace(filters, user=user)
    return _groups(caller, reading, platform, asked, by, after, limit)


@router.get(
    "/all/export", response_class=StreamingResponse, responses=_FILES, dependencies=[rules.OPERATOR]
)
def all_usage_export(
    reading: ReadingDep,
    platform: PlatformDep,
    filters: FiltersDep,
    user: Word = None,
    format: Format = "csv",
    granularity: Granularity = "hour",
) -> StreamingResponse:
    """Everybody's calls as a file: sums by hour, user, key, service, model and tags, or each."""
    return _file(reading, platform, replace(filters, user=user), format, granularity)


def _page(
    caller: Caller,
    reading: Session,
    platform: Platform,
    filters: Filters,
    after: str | None,
    limit: int,
) -> UserUsagePage:
    cursors = Cursors(platform.sealing, caller.id, "usage", filters.query())
    position = cursors.read(after)
    rows, following = operations.page(reading, filters, after=position, limit=limit)
    return UserUsagePage(
        items=[operations.read(row) for row in rows],
        totals=operations.totals(reading, filters),
        currency=platform.settings.currency,
        next=cursors.write(following) if following else None,
    )


def _groups(
    caller: Caller,
    reading: Session,
    platform: Platform,
    filters: Filters,
    by: Sequence[str],
    after: str | None,
    limit: int,
) -> UsageGroups:
    names = list(dict.fromkeys(by))
    query = {**filters.query(), "by": ",".join(names)}
    cursors = Cursors(platform.sealing, caller.id, "usage-totals", query)
    begin = int(cursors.read(after) or 0)
    rows, following = groups.page(reading, filters, names, begin=begin, limit=limit)
    return UsageGroups(
        items=[operations.read_group(row, names) for row in rows],
        currency=platform.settings.currency,
        next=cursors.write(str(following)) if following else None,
    )


def _file(
    reading: Session,
    platform: Platform,
    filters: Filters,
    format: Format,
    granularity: Granularity,
) -> StreamingResponse:
    found = table(reading, filters, granularity, currency=platform.settings.currency)
    return download(
        lambda file: files.write(file, found, format),
        name=f"usage.{format}",
        kind=files.TYPES[format],
    )
