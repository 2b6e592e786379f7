"""HTTP of groups and their members."""

from fastapi import APIRouter

from dormouse_control import rules
from dormouse_control.deps import (
    ActorDep,
    AfterDep,
    CallerDep,
    IdDep,
    LimitDep,
    PlatformDep,
    ReadingDep,
    SessionDep,
)
from dormouse_control.groups import operations
from dormouse_control.groups.schemas import (
    GroupChange,
    GroupCreate,
    GroupDetail,
    GroupRead,
    MemberRead,
)
from dormouse_control.idempotency.route import RepeatableRoute
from dormouse_control.pages import Cursors
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1/groups", route_class=RepeatableRoute)


@router.post("", status_code=201, response_model=GroupDetail, dependencies=[rules.ADMINISTRATOR])
def create_group(
    body: GroupCreate, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> GroupDetail:
    """Make a group."""
    return operations.create(session, name=body.name, actor=actor, now=platform.clock())


@router.get("", response_model=Page[GroupRead], dependencies=[rules.OPERATOR])
def list_groups(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[GroupRead]:
    """Groups, oldest first."""
    cursors = Cursors(platform.sealing, caller.id, "groups", {})
    rows, following = operations.list_groups(reading, cursors=cursors, after=after, limit=limit)
    return Page(items=rows, next=following)


@router.get("/{id}", response_model=GroupDetail, dependencies=[rules.OPERATOR])
def get_group(id: IdDep, reading: ReadingDep) -> GroupDetail:
    """One group and what its members may call."""
    return operations.detail(reading, id)


@router.patch("/{id}", response_model=GroupDetail, dependencies=[rules.ADMINISTRATOR])
def change_group(
    id: IdDep, body: GroupChange, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> GroupDetail:
    """Give a group another name."""
    return operations.rename(
        session, group_id=id, name=body.name, actor=actor, now=platform.clock()
    )


@router.delete("/{id}", status_code=204, dependencies=[rules.ADMINISTRATOR])
def delete_group(id: IdDep, session: SessionDep, actor: ActorDep, platform: PlatformDep) -> None:
    """Delete a group. Its members lose, at once, what they could call by it alone."""
    operations.remove(session, group_id=id, actor=actor, now=platform.clock())


@router.get("/{id}/members", response_model=Page[MemberRead], dependencies=[rules.OPERATOR])
def list_members(
    id: IdDep,
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[MemberRead]:
    """Who is in a group."""
    cursors = Cursors(platform.sealing, caller.id, "members", {"group": id})
    rows, following = operations.list_members(
        reading, group_id=id, cursors=cursors, after=after, limit=limit
    )
    return Page(items=rows, next=following)


@router.put("/{id}/members/{user}", status_code=204, dependencies=[rules.ADMINISTRATOR])
def add_member(
    id: IdDep, user: IdDep, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> None:
    """Put a user into a group."""
    operations.add_member(session, group_id=id, user_id=user, actor=actor, now=platform.clock())


@router.delete("/{id}/members/{user}", status_code=204, dependencies=[rules.ADMINISTRATOR])
def remove_member(
    id: IdDep, user: IdDep, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> None:
    """Take a user out of a group."""
    operations.remove_member(session, group_id=id, user_id=user, actor=actor, now=platform.clock())
