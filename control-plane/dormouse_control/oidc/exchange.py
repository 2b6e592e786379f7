"""The last step of a sign-in through a provider: a login code and its secret become a session."""

from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor
from dormouse_control.identity.models import User, UserStatus
from dormouse_control.identity.sessions import Opening, TokenPair, open_session
from dormouse_control.oidc import flows, identities
from dormouse_control.oidc.decisions import not_active
from dormouse_control.oidc.models import OidcFlow
from dormouse_control.proofs import attempts, checks, second_factor, tokens
from dormouse_control.proofs.attempts import Attempt
from dormouse_control.proofs.models import OneTimeToken, TokenKind
from dormouse_control.wiring import Platform


@dataclass(frozen=True)
class Proof:
    """A login code, the secret that the sign-in began with, and a code of the second factor."""

    code: str = field(repr=False)
    verifier: str = field(repr=False)
    second_factor: str | None = field(repr=False)


def sign_in(
    platform: Platform, proof: Proof, *, visitor: Actor, user_agent: str | None
) -> TokenPair:
    """Of several at once exactly one succeeds.

    Raises `InvalidOneTimeToken`, `AccountNotActive`, `TooManyAttempts`, and `CodeRequired`, after
    which the login code is still good.
    """
    attempt = _count(platform, proof, visitor)
    now = platform.clock()
    with platform.database.sessions.begin() as session:
        code = _found(session, proof, platform)
        user = _active(session, code)
        if second_factor.is_on(user):
            given = proof.second_factor
            second_factor.demand(session, user, given, sealing=platform.sealing, now=now)
        if attempt is not None:
            attempts.succeed(session, attempt, now=now)
        tokens.redeem(session, proof.code, TokenKind.LOGIN_CODE, sealing=platform.sealing, now=now)
        flow = _flow(session, code)
        _link(session, flow, platform=platform, visitor=visitor)
        return open_session(
            session,
            user_id=user.id,
            opening=Opening(
                method=flow.provider,
                second_factor=second_factor.is_on(user),
                address=visitor.address,
                user_agent=user_agent,
            ),
            signing=platform.signing,
            now=now,
            actor=visitor,
        )


def _count(platform: Platform, proof: Proof, visitor: Actor) -> Attempt | None:
    """Codes of the second factor can be guessed, so each is counted before it is looked at."""
    if proof.second_factor is None:
        return None
    with platform.database.reads() as reading:
        user = reading.get_one(User, _found(reading, proof, platform).user_id)
    if user.email is None or not second_factor.is_on(user):
        return None
    return checks.count(platform, email=user.email, address=visitor.address)


def _found(session: Session, proof: Proof, platform: Platform) -> OneTimeToken:
    found = tokens.peek(
        session,
        proof.code,
        TokenKind.LOGIN_CODE,
        sealing=platform.sealing,
        now=platform.clock(),
    )
    if found.bound != flows.digest(proof.verifier):
        raise tokens.refusal()
    return found


def _active(session: Session, code: OneTimeToken) -> User:
    # Locked, so that whoever disables the account in this moment ends the new session too.
    user = session.get_one(User, code.user_id, with_for_update={"key_share": True})
    if user.status is not UserStatus.ACTIVE:
        raise not_active(user)
    return user


def _flow(session: Session, code: OneTimeToken) -> OidcFlow:
    found = session.scalar(select(OidcFlow).where(OidcFlow.login_code == code.id))
    if found is None:
        raise tokens.refusal()
    return found


def _link(session: Session, flow: OidcFlow, *, platform: Platform, visitor: Actor) -> None:
    """Only now: who has the secret is who asked for the link, and not whom they sent there."""
    if flow.user_id is None or flow.subject is None:
        return
    identities.link_by_hand(
        session,
        provider=platform.providers.find(flow.provider).config,
        subject=flow.subject,
        user_id=flow.user_id,
        actor=visitor,
        now=platform.clock(),
    )
