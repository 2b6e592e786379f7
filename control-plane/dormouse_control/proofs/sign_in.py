"""Rules of signing in with a password, and a code where the account has a second factor."""

from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor
from dormouse_control.errors import AccountNotActive, InvalidCredentials
from dormouse_control.identity.models import User, UserStatus
from dormouse_control.identity.sessions import Opening, TokenPair, open_session
from dormouse_control.proofs import checks, second_factor
from dormouse_control.wiring import Platform

_WAITING = "Your account waits for an administrator's approval."
_PERHAPS_UNVERIFIED = (
    "E-mail address or password is wrong, or the address is not verified yet: open the link that"
    " was mailed there, or have it sent again at {url}/account/verify"
)


@dataclass(frozen=True)
class Proof:
    """What somebody says to be who they say."""

    email: str
    password: str = field(repr=False)
    code: str | None = field(repr=False)


def sign_in(
    platform: Platform, proof: Proof, *, visitor: Actor, user_agent: str | None
) -> TokenPair:
    """Raises `InvalidCredentials`, `CodeRequired`, `TooManyAttempts` or `Busy`, and
    `AccountNotActive` to whoever has proved that the account is theirs.
    """
    try:
        return _signed_in(platform, proof, visitor=visitor, user_agent=user_agent)
    except InvalidCredentials as error:
        if not platform.settings.verify_email:
            raise
        # Whatever was the reason: what is special to one would tell who has an account.
        url = platform.settings.public_url.rstrip("/")
        raise InvalidCredentials(_PERHAPS_UNVERIFIED.format(url=url)) from error


def _signed_in(
    platform: Platform, proof: Proof, *, visitor: Actor, user_agent: str | None
) -> TokenPair:
    checked = checks.check_password(
        platform, email=proof.email, password=proof.password, address=visitor.address
    )
    now = platform.clock()
    with platform.database.sessions.begin() as session:
        user = checks.accept(session, checked, now=now)
        if second_factor.is_on(user):
            second_factor.demand(session, user, proof.code, sealing=platform.sealing, now=now)
        if user.status is UserStatus.ACTIVE:
            return _opened(session, user, platform, visitor=visitor, user_agent=user_agent)
    raise AccountNotActive(_WAITING)


def _opened(
    session: Session, user: User, platform: Platform, *, visitor: Actor, user_agent: str | None
) -> TokenPair:
    opening = Opening(
        method="password",
        second_factor=second_factor.is_on(user),
        address=visitor.address,
        user_agent=user_agent,
    )
    return open_session(
        session,
        user_id=user.id,
        opening=opening,
        signing=platform.signing,
        now=platform.clock(),
        actor=visitor,
    )
