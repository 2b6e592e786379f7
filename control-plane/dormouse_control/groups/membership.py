"""Which groups users are in."""

from collections import defaultdict

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from dormouse_control.groups.models import GroupMember


def groups_of(session: Session, which: ColumnElement[bool]) -> dict[str, list[str]]:
    """User -> groups, in order, of the memberships that `which` is true for."""
    found: dict[str, list[str]] = defaultdict(list)
    members = select(GroupMember.user_id, GroupMember.group_id).where(which)
    for user, group in session.execute(members.order_by(GroupMember.group_id)):
        found[user].append(group)
    return dict(found)
