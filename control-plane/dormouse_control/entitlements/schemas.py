"""Wire types of entitlements."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from dormouse_control.wire import Answer, Body, Name, Text, When

Reason = Annotated[Text, Field(max_length=500)]
# It goes into the audit log, where it stays for ever.
LastingReason = Annotated[
    str, Field(max_length=500, pattern=r"^[^\x00@]*$", description="Without addresses of mail.")
]
Standing = Literal["active", "pending", "refused", "expired"]


class EntitlementCreate(Body):
    """`reason` is for whoever decides."""

    service: Name
    reason: Reason | None = None


class EntitlementRead(Answer):
    """By yourself or by a group, whose name is in `group`.

    `reason` is the words of whoever decided last; while it is pending, your own.
    """

    service: str
    status: Standing
    by: Literal["own", "group"]
    group: str | None
    created_at: datetime
    expires_at: datetime | None
    reason: str | None


class Grant(Body):
    """`expires_at` null or absent: without end."""

    expires_at: When | None = None
    reason: Reason | None = None


class Refusal(Body):
    reason: Reason | None = None


class Decision(Answer):
    """What somebody decided about a user's own entitlement."""

    user: str
    service: str
    status: Standing
    created_at: datetime
    expires_at: datetime | None
    reason: str | None
    decided_by: str | None
    decided_at: datetime | None
