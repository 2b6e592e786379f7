"""Wire types of the audit log."""

import json
from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field

from dormouse_control.audit.models import Outcome
from dormouse_control.audit.record import Detail
from dormouse_control.wire import Answer


class AuditRead(Answer):
    """`hash` covers the entry and, by `previous`, all before it."""

    seq: int
    time: datetime
    actor: str | None
    credential: str | None
    address: str | None
    request_id: str | None
    action: str
    outcome: Outcome
    subject: str | None
    details: Annotated[dict[str, Detail], BeforeValidator(json.loads)]
    previous: str
    hash: str


class HeadRead(Answer):
    seq: int
    hash: str


class VerificationRead(Answer):
    """`problem` says what is wrong first; null if every entry is as it was written."""

    entries: int
    last: HeadRead
    problem: str | None = Field(default=None)
