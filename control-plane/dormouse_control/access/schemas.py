"""Wire types of the access review."""

from datetime import datetime

from dormouse_control.identity.models import Role, UserStatus
from dormouse_control.wire import Answer


class AccessRead(Answer):
    """One right of one user, which exists at this moment.

    `through` is "own", or the name of a group, whose id is then in `group`. `granted_by` is null
    where the service is open to all. `keys` counts the user's keys that can call the service.
    """

    user: str
    email: str | None
    role: Role
    tier: str
    status: UserStatus
    service: str
    through: str
    group: str | None
    expires_at: datetime | None
    granted_by: str | None
    granted_at: datetime
    reason: str | None
    last_used_at: datetime | None
    keys: int
