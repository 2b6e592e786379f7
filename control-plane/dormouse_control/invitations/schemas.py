"""Wire types of invitations."""

from datetime import datetime

from pydantic import Field

from dormouse_control.identity.operations import FIRST_TIER
from dormouse_control.wire import Answer, Body, Text, When


class InvitationCreate(Body):
    """`mail` sends it to `email`, and then nobody else sees its token."""

    email: Text | None = Field(default=None, max_length=320)
    mail: bool = False
    tier: Text = Field(default=FIRST_TIER, max_length=32)
    groups: list[Text] = Field(default=[], max_length=100)
    expires_at: When | None = None


class InvitationRead(Answer):
    id: str
    email: str | None
    mailed: bool
    tier: str
    groups: list[str]
    created_by: str | None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    used_by: str | None


class InvitationCreated(InvitationRead):
    """The only time that the token itself is shown; null if it was mailed."""

    token: str | None = Field(repr=False)
