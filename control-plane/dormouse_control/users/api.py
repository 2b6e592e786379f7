"""HTTP of the administration of users."""

from typing import Annotated

from fastapi import APIRouter, Query

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
from dormouse_control.identity.models import Role, User, UserStatus
from dormouse_control.leaving.operations import erase_other
from dormouse_control.pages import Cursors
from dormouse_control.users import lockouts, operations
from dormouse_control.users.schemas import UserChange, UserRead
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1/users")

Part = Annotated[
    str | None,
    Query(max_length=254, pattern=r"^[^\x00]*$", description="Any part of the e-mail address."),
]
TierName = Annotated[str | None, Query(max_length=32, pattern=r"^[\w-]+$")]


@router.get("", response_model=Page[UserRead], dependencies=[rules.OPERATOR])
def list_users(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    status: UserStatus | None = None,
    role: Role | None = None,
    tier: TierName = None,
    q: Part = None,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[UserRead]:
    """Users, newest first; the erased only with `status=erased`."""
    filters = operations.Filters(status=status, role=role, tier=tier, text=q)
    query = {"status": status, "role": role, "tier": tier, "q": q}
    cursors = Cursors(platform.sealing, caller.id, "users", query)
    rows, following = operations.list_users(
        reading, filters=filters, cursors=cursors, after=after, limit=limit
    )
    return Page(items=[_read(row) for row in rows], next=following)


@router.get("/{id}", response_model=UserRead, dependencies=[rules.OPERATOR])
def get_user(id: IdDep, reading: ReadingDep) -> UserRead:
    """One user."""
    return _read(operations.find(reading, id))


@router.patch("/{id}", response_model=UserRead, dependencies=[rules.ADMINISTRATOR])
def change_user(
    id: IdDep, body: UserChange, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> UserRead:
    """Approve, disable or enable a user, or give another role or tier."""
    changes = operations.Changes()
    if "role" in body.model_fields_set:
        changes["role"] = body.role
    if "tier" in body.model_fields_set:
        changes["tier"] = body.tier
    if "status" in body.model_fields_set:
        changes["status"] = UserStatus(body.status)
    user = operations.change(
        session, user_id=id, changes=changes, actor=actor, now=platform.clock()
    )
    return _read(user)


@router.delete("/{id}", status_code=204, dependencies=[rules.ADMINISTRATOR])
def erase_user(id: IdDep, session: SessionDep, actor: ActorDep, platform: PlatformDep) -> None:
    """Erase a user for good: only what accounting needs is left, without a name."""
    erase_other(session, user_id=id, sealing=platform.sealing, actor=actor, now=platform.clock())


@router.delete("/{id}/sessions", status_code=204, dependencies=[rules.ADMINISTRATOR])
def end_user_sessions(
    id: IdDep, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> None:
    """End all sessions of a user."""
    operations.end_sessions(session, user_id=id, actor=actor, now=platform.clock())


@router.delete("/{id}/second-factor", status_code=204, dependencies=[rules.ADMINISTRATOR])
def remove_user_second_factor(
    id: IdDep, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> None:
    """Let a user who lost phone and recovery codes in with the password alone. Ends sessions."""
    lockouts.remove_second_factor(
        session, user_id=id, sealing=platform.sealing, actor=actor, now=platform.clock()
    )


@router.delete("/{id}/attempts", status_code=204, dependencies=[rules.ADMINISTRATOR])
def forget_user_attempts(
    id: IdDep, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> None:
    """Forget a user's failed attempts to sign in, so that nobody else's guesses keep them out."""
    lockouts.forget_attempts(
        session, user_id=id, sealing=platform.sealing, actor=actor, now=platform.clock()
    )


def _read(user: User) -> UserRead:
    return UserRead(
        id=user.id,
        email=user.email,
        status=user.status,
        role=user.role,
        tier=user.tier,
        created_at=user.created_at,
        email_verified_at=user.email_verified_at,
        second_factor=user.totp_confirmed_at is not None,
    )
