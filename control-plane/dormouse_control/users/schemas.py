"""Wire types of the administration of users."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from dormouse_control.identity.models import Role, UserStatus
from dormouse_control.wire import Answer, Body


class UserRead(Answer):
    """`email` is null once the user is erased."""

    id: str
    email: str | None
    status: UserStatus
    role: Role
    tier: str
    created_at: datetime
    email_verified_at: datetime | None
    second_factor: bool


class UserChange(Body):
    """What is absent stays as it is."""

    # They can be absent, but not null. Not strict: JSON has no enumerations, only texts.
    role: Role = Field(default=Role.USER, strict=False)
    tier: str = Field(default="", max_length=32)
    status: Literal["active", "disabled"] = "active"
