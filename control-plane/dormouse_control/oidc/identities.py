"""Rules of identities: which accounts at providers open which account here."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.errors import AlreadyExists, Conflict, NotFound
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind, User
from dormouse_control.mail import outbox
from dormouse_control.mail.models import MailKind
from dormouse_control.naming import new_id
from dormouse_control.oidc.config import OidcProvider
from dormouse_control.oidc.models import OidcIdentity


def add_identity(
    session: Session,
    *,
    provider: OidcProvider,
    subject: str,
    user_id: str,
    by: str,
    actor: Actor,
    now: datetime,
) -> None:
    """Two at once collide in the database: IntegrityError."""
    identity = OidcIdentity(
        id=new_id("oid"),
        provider=provider.name,
        issuer=provider.issuer,
        subject=subject,
        user_id=user_id,
        created_at=now,
    )
    session.add(identity)
    session.flush()
    _tell(session, user_id, now=now)
    details = {"provider": provider.name, "user": user_id, "by": by}
    record(session, "identity.link", actor=actor, subject=identity.id, now=now, details=details)


def link_by_hand(
    session: Session,
    *,
    provider: OidcProvider,
    subject: str,
    user_id: str,
    actor: Actor,
    now: datetime,
) -> None:
    """Does nothing if it is this account's already. Raises `AlreadyExists` for another's."""
    same = (OidcIdentity.issuer == provider.issuer, OidcIdentity.subject == subject)
    owner = session.scalar(select(OidcIdentity.user_id).where(*same))
    if owner is None:
        add_identity(
            session,
            provider=provider,
            subject=subject,
            user_id=user_id,
            by="hand",
            actor=actor,
            now=now,
        )
    elif owner != user_id:
        raise AlreadyExists("This identity belongs to another account here.")


def list_identities(reading: Session, *, user_id: str) -> Sequence[OidcIdentity]:
    """Oldest first; few enough for one page."""
    mine = select(OidcIdentity).where(OidcIdentity.user_id == user_id)
    return reading.scalars(mine.order_by(OidcIdentity.id)).all()


def unlink(
    session: Session,
    *,
    user_id: str,
    identity_id: str,
    issuers: Collection[str],
    actor: Actor,
    now: datetime,
) -> None:
    """Raises `NotFound` for another's as for none, `Conflict` if nothing else opens the account.

    `issuers` are those that one can sign in with now.
    """
    # Locked, so that of two identities removed at once one stays.
    user = session.scalars(
        select(User).where(User.id == user_id).with_for_update(key_share=True)
    ).one()
    mine = list_identities(session, user_id=user_id)
    found = next((each for each in mine if each.id == identity_id), None)
    if found is None:
        raise NotFound("You have no such identity.")
    others = any(each is not found and each.issuer in issuers for each in mine)
    if user.password_hash is None and not others:
        raise Conflict("You could not sign in any more. Set a password or link another first.")
    session.execute(delete(OidcIdentity).where(OidcIdentity.id == identity_id))
    revocations.record(session, RevocationKind.USER, user_id, now=now)
    _tell(session, user_id, now=now)
    details = {"provider": found.provider, "user": user_id}
    record(session, "identity.unlink", actor=actor, subject=identity_id, now=now, details=details)


def _tell(session: Session, user_id: str, *, now: datetime) -> None:
    """By mail: whoever got hold of a session must not make a way in for themselves unseen."""
    address = session.get_one(User, user_id).email
    if address is not None:
        about = "list of sign-in providers"
        outbox.enqueue(
            session, MailKind.CHANGED, address=address, user_id=user_id, about=about, now=now
        )
