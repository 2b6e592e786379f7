"""HTTP of asynchronous requests that were taken."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any  # what a model answered

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session

from dormouse_control import rules
from dormouse_control.deps import (
    AfterDep,
    CallerDep,
    IdDep,
    LimitDep,
    PlatformDep,
    ReadingDep,
    SessionDep,
)
from dormouse_control.pages import Cursors
from dormouse_control.requests import operations
from dormouse_control.requests.models import AsyncRequest, RequestStatus
from dormouse_control.requests.schemas import RequestRead, RequestResult, Stage, WebhookRead
from dormouse_control.webhooks.models import WebhookDelivery
from dormouse_control.wire import Page
from dormouse_control.wiring import Platform

LOCATION = "/api/v1/requests/{id}"

router = APIRouter(prefix="/api/v1/requests")


@router.get("", response_model=Page[RequestRead], dependencies=[rules.CALLER])
def list_requests(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[RequestRead]:
    """Your asynchronous requests, newest first, without their results."""
    cursors = Cursors(platform.sealing, caller.id, "requests", {})
    position = cursors.read(after)
    rows, following = operations.list_requests(reading, caller, after=position, limit=limit)
    found = read(reading, rows, platform=platform)
    return Page(
        items=[RequestRead.model_validate(each) for each in found],
        next=cursors.write(following) if following else None,
    )


@router.get("/{id}", response_model=RequestResult, dependencies=[rules.CALLER])
def get_request(
    id: IdDep, caller: CallerDep, reading: ReadingDep, platform: PlatformDep
) -> RequestResult:
    """How far an asynchronous request is, and its result once it has ended."""
    row = operations.get(reading, caller, id)
    result = _result(row, operations.answered(reading, row))
    [found] = read(reading, [row], platform=platform)
    return RequestResult.model_validate({**found, "result": result})


@router.delete("/{id}", status_code=204, dependencies=[rules.CALLER])
def end_request(id: IdDep, caller: CallerDep, session: SessionDep, platform: PlatformDep) -> None:
    """Cancel an asynchronous request; one that has ended is erased."""
    operations.end(session, caller, id, now=platform.clock())


def read(
    reading: Session, rows: Sequence[AsyncRequest], *, platform: Platform
) -> list[dict[str, Any]]:
    """All but the results, of requests of one user."""
    told = WebhookDelivery.request_id.in_([row.id for row in rows])
    webhooks = {
        each.request_id: WebhookRead.model_validate(each)
        for each in reading.scalars(select(WebhookDelivery).where(told))
    }
    positions = operations.positions(reading, rows)
    kept = timedelta(hours=platform.settings.async_kept_hours)
    return [_document(row, positions.get(row.id), webhooks.get(row.id), kept=kept) for row in rows]


def _document(
    row: AsyncRequest, position: int | None, webhook: WebhookRead | None, *, kept: timedelta
) -> dict[str, Any]:
    return {
        "id": row.id,
        "status": row.status,
        "stage": _stage(row),
        "position": position,
        "model": row.model,
        "endpoint": row.endpoint,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "expires_at": row.deadline_at,
        "erased_at": row.ended_at + kept if row.ended_at else None,
        "attempts": row.attempt,
        "request_id": row.call_id,
        "refusal": row.refusal,
        "webhook": webhook,
    }


def _stage(row: AsyncRequest) -> Stage | None:
    if row.status is RequestStatus.RUNNING:
        return "calling"
    if row.status is RequestStatus.QUEUED:
        return "waiting_to_retry" if row.attempt else "waiting_for_turn"
    return None


def _result(row: AsyncRequest, body: bytes | None) -> dict[str, Any] | None:
    if row.status_code is None or body is None:
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = body.decode("utf-8", "replace")
    usage = document.get("usage") if isinstance(document, dict) else None
    return {
        "status_code": row.status_code,
        "body": document,
        "usage": usage if isinstance(usage, dict) else None,
    }
