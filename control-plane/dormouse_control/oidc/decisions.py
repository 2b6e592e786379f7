"""Which account somebody gets whom a provider vouches for. Pure."""

from dataclasses import dataclass

from dormouse_control.errors import (
    AccountNotActive,
    AlreadyExists,
    EmailNotVerified,
    LinkByHand,
    PlatformError,
    RegistrationClosed,
)
from dormouse_control.identity.models import User, UserStatus
from dormouse_control.identity.registration import Mode, first_status
from dormouse_control.invitations.models import Invitation
from dormouse_control.oidc.config import OidcProvider
from dormouse_control.oidc.provider import Person


@dataclass(frozen=True)
class SignIn:
    user: User


@dataclass(frozen=True)
class Link:
    user: User


@dataclass(frozen=True)
class Register:
    email: str
    status: UserStatus
    invitation: Invitation | None = None


@dataclass(frozen=True)
class Refuse:
    """`about` is whose account it is, for the audit log."""

    error: PlatformError
    about: User | None = None


Decision = SignIn | Link | Register | Refuse


def decide(
    person: Person,
    *,
    known: User | None,
    namesake: User | None,
    provider: OidcProvider,
    registration: Mode,
    invitation: Invitation | None,
) -> Decision:
    """`known` is whom this identity is linked to, `namesake` who has the e-mail address, and
    `invitation` one for it.
    """
    if known is not None:
        return SignIn(known) if _active(known) else Refuse(not_active(known), known)
    if person.email is None or not person.email_verified:
        return Refuse(
            EmailNotVerified(
                "The provider does not say that your e-mail address is yours. Verify it there."
            )
        )
    if namesake is not None:
        return _of_namesake(namesake, provider)
    if not provider.link_verified_email:
        invitation = None  # this provider's word on an address gives nothing that is somebody's
    invited = invitation is not None
    if not provider.registers or (registration == "invitation" and not invited):
        return Refuse(RegistrationClosed("There is no account for you. Ask for an invitation."))
    status = first_status(registration, must_verify=False, verified=True, invited=invited)
    return Register(person.email, status, invitation)


def _of_namesake(namesake: User, provider: OidcProvider) -> Decision:
    # Somebody else may have registered with this address before its owner came. Only who has
    # proved here that mail to it arrives is surely the person whom the provider means.
    if namesake.email_verified_at is None or not provider.link_verified_email:
        return Refuse(
            LinkByHand(
                "There is an account with your e-mail address. Sign in to it by its password and"
                " link this provider there."
            ),
            namesake,
        )
    return Link(namesake) if _active(namesake) else Refuse(not_active(namesake), namesake)


def decide_link(*, known: User | None, owner: User) -> Decision:
    """Of a flow that `owner` began while signed in; the link is made when its code is redeemed."""
    if known is not None and known.id != owner.id:
        return Refuse(AlreadyExists("This identity belongs to another account here."), owner)
    return SignIn(owner) if _active(owner) else Refuse(not_active(owner), owner)


def _active(user: User) -> bool:
    return user.status is UserStatus.ACTIVE


def not_active(user: User) -> AccountNotActive:
    if user.status is UserStatus.PENDING:
        return AccountNotActive("Your account waits for an administrator's approval.")
    return AccountNotActive("This account may not sign in.")
