"""Wire types of entitlements."""

from datetime import datetime

from dormouse_control.entitlements.models import EntitlementStatus
from dormouse_control.wire import Answer, Body, Name


class EntitlementCreate(Body):
    service: Name


class EntitlementRead(Answer):
    service: str
    status: EntitlementStatus
    created_at: datetime
