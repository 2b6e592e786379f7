"""HTTP of other people's API keys: to see and to revoke, never to make."""

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
from dormouse_control.identity import apikeys
from dormouse_control.identity.keys_api import read
from dormouse_control.identity.keys_schemas import KeyRead
from dormouse_control.pages import Cursors
from dormouse_control.users import operations
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1/users/{id}/keys")


@router.get("", response_model=Page[KeyRead], dependencies=[rules.OPERATOR])
def list_user_keys(
    id: IdDep,
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[KeyRead]:
    """A user's API keys, newest first."""
    operations.find_living(reading, id)
    cursors = Cursors(platform.sealing, caller.id, "user keys", {"user": id})
    position = cursors.read(after)
    rows, following = apikeys.list_keys(reading, user_id=id, after=position, limit=limit)
    return Page(
        items=[read(row) for row in rows], next=cursors.write(following) if following else None
    )


@router.delete("/{key}", status_code=204, dependencies=[rules.ADMINISTRATOR])
def revoke_user_key(
    id: IdDep, key: IdDep, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> None:
    """Revoke an API key of a user."""
    operations.find_living(session, id)
    apikeys.revoke(session, actor=actor, user_id=id, key_id=key, now=platform.clock())
