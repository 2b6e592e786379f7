"""HTTP of making accounts and getting into them again."""

from fastapi import APIRouter, BackgroundTasks

from dormouse_control import rules
from dormouse_control.deps import PlatformDep, SessionDep, VisitorDep
from dormouse_control.idempotency.route import RepeatableRoute
from dormouse_control.identity import (
    administrators,
    emails,
    registration,
    resets,
    verification,
)
from dormouse_control.identity.accounts_schemas import (
    Accepted,
    Address,
    Confirmation,
    FirstAdministrator,
    LocalAdministrator,
    NewPassword,
    Registration,
)
from dormouse_control.identity.registration import Account
from dormouse_control.identity.schemas import Registered
from dormouse_control.mail import outbox
from dormouse_control.mail.models import MailKind

router = APIRouter(prefix="/api/v1", route_class=RepeatableRoute)
local_router = APIRouter(prefix="/local/v1")


@router.post(
    "/registrations", status_code=201, response_model=Registered, dependencies=[rules.ANYONE]
)
def register(
    body: Registration, session: SessionDep, platform: PlatformDep, visitor: VisitorDep
) -> Account:
    """Make an account. It may have to be verified or approved before it can be used."""
    return registration.register(
        session,
        email=body.email,
        password=body.password,
        invitation=body.invitation,
        platform=platform,
        actor=visitor,
    )


@router.post(
    "/verifications", status_code=202, response_model=Accepted, dependencies=[rules.ANYONE]
)
def ask_verification(body: Address, session: SessionDep, platform: PlatformDep) -> Accepted:
    """Send the link that verifies an address again, if there is an account that needs it."""
    address = emails.canonical(body.email)
    outbox.ask(session, MailKind.VERIFY_EMAIL, address=address, now=platform.clock())
    return Accepted()


@router.post("/verifications/confirm", response_model=Registered, dependencies=[rules.ANYONE])
def confirm_verification(
    body: Confirmation, session: SessionDep, platform: PlatformDep, visitor: VisitorDep
) -> Account:
    """Verify an address with the token that was mailed to it."""
    return verification.confirm(session, body.token, platform=platform, actor=visitor)


@router.post("/resets", status_code=202, response_model=Accepted, dependencies=[rules.ANYONE])
def ask_reset(body: Address, session: SessionDep, platform: PlatformDep) -> Accepted:
    """Send a link that sets a new password, if there is an account with this address."""
    address = emails.canonical(body.email)
    outbox.ask(session, MailKind.RESET_PASSWORD, address=address, now=platform.clock())
    return Accepted()


@router.post("/resets/confirm", status_code=204, dependencies=[rules.ANYONE])
def confirm_reset(
    body: NewPassword, session: SessionDep, platform: PlatformDep, visitor: VisitorDep
) -> None:
    """Set a new password with the token that was mailed. Every session ends."""
    resets.confirm(session, body.token, password=body.password, platform=platform, actor=visitor)


@router.post(
    "/administrators", status_code=201, response_model=Registered, dependencies=[rules.ANYONE]
)
def make_first_administrator(
    body: FirstAdministrator,
    session: SessionDep,
    platform: PlatformDep,
    visitor: VisitorDep,
    afterwards: BackgroundTasks,
) -> Account:
    """Make the first administrator with the token that was shown when the platform started."""
    afterwards.add_task(administrators.forget, platform)
    return administrators.make_first(
        session,
        body.token,
        email=body.email,
        password=body.password,
        platform=platform,
        actor=visitor,
    )


@local_router.post("/administrators", status_code=201, response_model=Registered)
def make_administrator(
    body: LocalAdministrator,
    session: SessionDep,
    platform: PlatformDep,
    afterwards: BackgroundTasks,
) -> Account:
    """Make an administrator, or an administrator of somebody; for the owner of this machine."""
    afterwards.add_task(administrators.forget, platform)
    if body.password is None:
        return administrators.promote(session, email=body.email, platform=platform)
    return administrators.make(session, email=body.email, password=body.password, platform=platform)
