"""Rules of a sign-in through a provider, from the answer to a session."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dormouse_control.audit.models import Outcome
from dormouse_control.audit.record import Actor, record
from dormouse_control.errors import PlatformError, ProviderRefused
from dormouse_control.identity.models import Role, User, UserStatus
from dormouse_control.identity.operations import FIRST_TIER
from dormouse_control.identity.registration import welcome
from dormouse_control.invitations import operations as invitations
from dormouse_control.invitations.models import Invitation
from dormouse_control.naming import new_id
from dormouse_control.oidc import flows
from dormouse_control.oidc.decisions import (
    Decision,
    Link,
    Refuse,
    Register,
    SignIn,
    decide,
    decide_link,
    not_active,
)
from dormouse_control.oidc.flows import Claimed
from dormouse_control.oidc.identities import add_identity
from dormouse_control.oidc.models import OidcIdentity
from dormouse_control.oidc.provider import Person, Provider
from dormouse_control.wiring import Platform


@dataclass(frozen=True)
class Callback:
    """What the browser brought back from the provider."""

    code: str | None
    error: str | None
    issuer: str | None


@dataclass(frozen=True)
class Arrival:
    """A browser that comes back from a provider, sent by `actor`."""

    platform: Platform
    provider: Provider
    actor: Actor

    @property
    def _now(self) -> datetime:
        return self.platform.clock()

    def claim(self, *, state: str, browser: str | None) -> Claimed:
        """The flow that this browser began. Committed, because it is good for once."""
        with self.platform.database.sessions.begin() as session:
            return flows.claim(
                session,
                provider=self.provider.config.name,
                state=state,
                browser=browser,
                sealing=self.platform.sealing,
                now=self._now,
            )

    def finish(self, flow: Claimed, came: Callback) -> str:
        """The id of the login code. Raises what to tell the person instead."""
        person = self._person(flow, came)
        try:
            return self._settle(person, flow)
        except IntegrityError:
            # Another sign-in of the same person was quicker; what it made is seen now.
            return self._settle(person, flow)

    def _person(self, flow: Claimed, came: Callback) -> Person:
        """Talks to the provider, so no transaction may be open."""
        self.provider.check_issuer(came.issuer)
        if came.code is None or came.error is not None:
            raise ProviderRefused("The provider did not sign you in.")
        return self.provider.person(code=came.code, verifier=flow.verifier, nonce=flow.nonce)

    def _settle(self, person: Person, flow: Claimed) -> str:
        with self.platform.database.sessions.begin() as session:
            decision = self._decision(session, person, flow)
            user = self._carry_out(session, decision, person)
            code = None
            if user is not None and user.status is UserStatus.ACTIVE:
                code = flows.end(
                    session, flow, user_id=user.id, subject=person.subject, now=self._now
                )
        if isinstance(decision, Refuse):
            raise decision.error
        assert user is not None
        if code is None:
            raise not_active(user)
        return code

    def _decision(self, session: Session, person: Person, flow: Claimed) -> Decision:
        known = _linked_user(session, person)
        if flow.user_id is not None:
            return decide_link(known=known, owner=session.get_one(User, flow.user_id))
        return decide(
            person,
            known=known,
            # Not looked for in vain: two locked users could wait for each other.
            namesake=None if known else _namesake(session, person),
            provider=self.provider.config,
            registration=self.platform.settings.registration,
            invitation=_invitation(session, person, now=self._now),
        )

    def _carry_out(self, session: Session, decision: Decision, person: Person) -> User | None:
        match decision:
            case SignIn(user):
                return user
            case Link(user):
                self._link(session, person, user, by="email")
                return user
            case Register():
                user = self._register(session, decision)
                self._link(session, person, user, by="registration")
                return user
            case Refuse(error, about):
                self._note_refusal(session, error, about=about)
                return None

    def _register(self, session: Session, wanted: Register) -> User:
        invited = wanted.invitation
        user = User(
            id=new_id("usr"),
            email=wanted.email,
            status=wanted.status,
            role=Role.USER,
            tier=invited.tier if invited is not None else FIRST_TIER,
            created_at=self._now,
            email_verified_at=self._now,
        )
        session.add(user)
        session.flush()
        joined: Sequence[str] = ()
        if invited is not None:
            invitations.use(session, invited.id, now=self._now)
            joined = welcome(session, user.id, invited, now=self._now)
        details = {
            "provider": self.provider.config.name,
            "status": wanted.status.value,
            "invitation": invited.id if invited is not None else None,
            "groups": list(joined),
        }
        record(
            session,
            "user.register",
            actor=self.actor,
            subject=user.id,
            now=self._now,
            details=details,
        )
        return user

    def _link(self, session: Session, person: Person, user: User, *, by: str) -> None:
        add_identity(
            session,
            provider=self.provider.config,
            subject=person.subject,
            user_id=user.id,
            by=by,
            actor=self.actor,
            now=self._now,
        )

    def _note_refusal(self, session: Session, error: PlatformError, *, about: User | None) -> None:
        record(
            session,
            "session.refuse",
            actor=self.actor,
            subject=about.id if about else None,
            now=self._now,
            outcome=Outcome.REFUSED,
            details={"provider": self.provider.config.name, "code": error.code},
        )


def _linked_user(session: Session, person: Person) -> User | None:
    """Locked: who is erased in this moment must not get anything more."""
    wanted = select(User).join(OidcIdentity, OidcIdentity.user_id == User.id)
    same = (OidcIdentity.issuer == person.issuer, OidcIdentity.subject == person.subject)
    return session.scalar(wanted.where(*same).with_for_update(key_share=True, of=User))


def _invitation(session: Session, person: Person, *, now: datetime) -> Invitation | None:
    return invitations.find_for(session, person.email, now=now) if person.email else None


def _namesake(session: Session, person: Person) -> User | None:
    wanted = select(User).where(User.email == person.email)
    return session.scalar(wanted.with_for_update(key_share=True))
