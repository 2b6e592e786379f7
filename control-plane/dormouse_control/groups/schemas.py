"""Wire types of groups."""

from datetime import datetime

from dormouse_control.wire import Answer, Body, Name


class GroupCreate(Body):
    name: Name


class GroupChange(Body):
    name: Name


class GroupRead(Answer):
    """`members` and `services` are counts."""

    id: str
    name: str
    created_at: datetime
    members: int
    services: int


class GroupEntitlementRead(Answer):
    service: str
    created_at: datetime
    expires_at: datetime | None
    reason: str | None
    granted_by: str | None


class GroupDetail(GroupRead):
    entitlements: list[GroupEntitlementRead]


class MemberRead(Answer):
    user: str
    email: str | None
    added_by: str | None
    added_at: datetime
