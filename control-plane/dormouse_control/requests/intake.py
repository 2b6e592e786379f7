"""Takes a call that nobody waits for: it is answered when it is on disk."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from dormouse_control.identity.operations import Caller
from dormouse_control.naming import new_id
from dormouse_control.requests.checks import TAG, Checked, check
from dormouse_control.requests.models import AsyncBody, AsyncRequest, BodyPart, RequestStatus
from dormouse_control.requests.room import check_room
from dormouse_control.webhooks import outbox
from dormouse_control.wiring import Platform

WEBHOOK_HEADER = "x-dormouse-webhook"
_REPEATED = ("content-type", "x-dormouse-model", "x-dormouse-priority")


def take(
    session: Session,
    *,
    caller: Caller,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    address: str | None,
    platform: Platform,
    now: datetime,
) -> AsyncRequest:
    """`headers` have lower-case names. Raises `Refusal` or `PlatformError`, and keeps nothing."""
    checked = check(
        session,
        caller=caller,
        path=path,
        headers=headers,
        body=body,
        platform=platform,
        now=now,
    )
    row = _row(checked, caller, path, headers, body, address)
    check_room(session, user_id=caller.id, size=row.asked_bytes, settings=platform.settings)
    row.created_at = row.next_at = now
    row.deadline_at = now + timedelta(seconds=platform.settings.async_deadline_seconds)
    session.add(row)
    session.flush()
    session.add(AsyncBody(request_id=row.id, part=BodyPart.ASKED, content=body))
    url = headers.get(WEBHOOK_HEADER)
    if url is not None:
        outbox.promise(session, row, url, settings=platform.settings)
    session.flush()
    return row


def _row(
    checked: Checked,
    caller: Caller,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    address: str | None,
) -> AsyncRequest:
    kept = {
        name: value for name, value in headers.items() if name in _REPEATED or name.startswith(TAG)
    }
    texts = (*kept, *kept.values(), headers.get(WEBHOOK_HEADER, ""))
    return AsyncRequest(
        id=new_id("req"),
        user_id=caller.id,
        credential=caller.credential_id,
        address=address,
        call_id=str(uuid.uuid4()),
        endpoint=checked.endpoint,
        path=path,
        service=checked.service,
        model=checked.model,
        headers=kept,
        status=RequestStatus.QUEUED,
        attempt=0,
        interruptions=0,
        asked_bytes=len(body) + sum(map(len, texts)),
        answered_bytes=0,
    )
