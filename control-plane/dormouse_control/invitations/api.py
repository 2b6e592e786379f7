"""HTTP of invitations."""

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
from dormouse_control.idempotency.route import RepeatableRoute
from dormouse_control.invitations import operations
from dormouse_control.invitations.schemas import (
    InvitationCreate,
    InvitationCreated,
    InvitationRead,
)
from dormouse_control.pages import Cursors
from dormouse_control.proofs import tokens
from dormouse_control.wire import Page

router = APIRouter(prefix="/api/v1/invitations", route_class=RepeatableRoute)


@router.post(
    "", status_code=201, response_model=InvitationCreated, dependencies=[rules.ADMINISTRATOR]
)
def create_invitation(
    body: InvitationCreate, actor: ActorDep, session: SessionDep, platform: PlatformDep
) -> InvitationCreated:
    """Invite somebody. The token is shown in this answer and never again, or mailed."""
    made = operations.create(session, body, actor=actor, now=platform.clock())
    token = tokens.write(made.id, operations.PURPOSE, platform.sealing)
    shown = InvitationRead.model_validate(made).model_dump()
    return InvitationCreated(**shown, token=None if made.mailed else token)


@router.get("", response_model=Page[InvitationRead], dependencies=[rules.ADMINISTRATOR])
def list_invitations(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[InvitationRead]:
    """All invitations that were not revoked, newest first."""
    cursors = Cursors(platform.sealing, owner=caller.id, name="invitations", query={})
    rows, following = operations.list_invitations(reading, after=cursors.read(after), limit=limit)
    items = [InvitationRead.model_validate(row) for row in rows]
    return Page(items=items, next=cursors.write(following) if following else None)


@router.delete("/{id}", status_code=204, dependencies=[rules.ADMINISTRATOR])
def revoke_invitation(
    id: IdDep, actor: ActorDep, session: SessionDep, platform: PlatformDep
) -> None:
    """Take an invitation back before it is used."""
    operations.revoke(session, invitation_id=id, actor=actor, now=platform.clock())
