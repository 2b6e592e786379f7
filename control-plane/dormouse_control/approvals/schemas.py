"""Wire types of what waits for a decision."""

from datetime import datetime
from typing import Literal

from dormouse_control.wire import Answer


class ApprovalRead(Answer):
    """An account that waits for approval, or a user who asks for a service."""

    kind: Literal["account", "entitlement"]
    user: str
    email: str | None
    service: str | None
    reason: str | None
    created_at: datetime
