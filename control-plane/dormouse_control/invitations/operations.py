"""Rules of invitations: who is invited registers once, before it expires, with that address."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.errors import InvalidValue, NotFound
from dormouse_control.groups.models import Group
from dormouse_control.identity import emails
from dormouse_control.invitations.models import Invitation
from dormouse_control.invitations.schemas import InvitationCreate
from dormouse_control.mail import outbox
from dormouse_control.mail.models import MailKind
from dormouse_control.naming import new_id
from dormouse_control.proofs import tokens
from dormouse_control.sealing import Sealing
from dormouse_control.tiers.models import Tier

PURPOSE = "invitation"
LIFE = timedelta(days=7)
LONGEST = timedelta(days=90)


def create(
    session: Session, wanted: InvitationCreate, *, actor: Actor, now: datetime
) -> Invitation:
    """Raises `InvalidValue` naming what cannot be."""
    email = emails.canonical(wanted.email) if wanted.email is not None else None
    if wanted.mail and email is None:
        raise InvalidValue("Mail needs an address: give `email` too.", param="email")
    invitation = Invitation(
        id=new_id("inv"),
        email=email,
        mailed=wanted.mail,
        tier=_tier(session, wanted.tier),
        groups=_groups(session, wanted.groups),
        created_by=actor.id,
        created_at=now,
        expires_at=_end(wanted.expires_at, now=now),
    )
    session.add(invitation)
    session.flush()
    if email is not None and wanted.mail:
        kind = MailKind.INVITATION
        outbox.enqueue(session, kind, address=email, token=invitation.id, now=now)
    record(
        session,
        "invitation.create",
        actor=actor,
        subject=invitation.id,
        now=now,
        details={"tier": invitation.tier, "groups": invitation.groups, "mailed": wanted.mail},
    )
    return invitation


def list_invitations(
    reading: Session, *, after: str | None, limit: int
) -> tuple[Sequence[Invitation], str | None]:
    """Newest first, without revoked ones; and where the next page begins."""
    wanted = select(Invitation).where(Invitation.revoked_at.is_(None))
    if after is not None:
        wanted = wanted.where(Invitation.id < after)
    rows = reading.scalars(wanted.order_by(Invitation.id.desc()).limit(limit + 1)).all()
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def revoke(session: Session, *, invitation_id: str, actor: Actor, now: datetime) -> None:
    """Raises `NotFound`, also for one that was used."""
    revoked = session.scalar(
        update(Invitation)
        .where(
            Invitation.id == invitation_id,
            Invitation.revoked_at.is_(None),
            Invitation.used_at.is_(None),
        )
        .values(revoked_at=now)
        .returning(Invitation.id)
    )
    if revoked is None:
        raise NotFound("There is no such invitation.")
    record(session, "invitation.revoke", actor=actor, subject=invitation_id, now=now)


def find(reading: Session, text: str, *, email: str, sealing: Sealing, now: datetime) -> Invitation:
    """The invitation with this secret. Raises `InvalidOneTimeToken`, also for another address."""
    id = tokens.read(text, PURPOSE, sealing)
    found = reading.get(Invitation, id)
    if found is None or not is_good(found, now=now) or found.email not in (None, email):
        raise tokens.refusal()
    return found


def find_for(reading: Session, email: str, *, now: datetime) -> Invitation | None:
    """The newest for whoever has proved that this address is theirs; needs no secret then."""
    good = (
        Invitation.email == email,
        Invitation.used_at.is_(None),
        Invitation.revoked_at.is_(None),
        Invitation.expires_at > now,
    )
    wanted = select(Invitation).where(*good).order_by(Invitation.id.desc())
    return reading.scalars(wanted.limit(1)).first()


def is_good(invitation: Invitation, *, now: datetime) -> bool:
    unused = invitation.used_at is None and invitation.revoked_at is None
    return unused and invitation.expires_at > now


def use(session: Session, invitation_id: str, *, now: datetime) -> None:
    """Of several at once exactly one succeeds. Raises `InvalidOneTimeToken`."""
    used = session.scalar(
        update(Invitation)
        .where(
            Invitation.id == invitation_id,
            Invitation.used_at.is_(None),
            Invitation.revoked_at.is_(None),
            Invitation.expires_at > now,
        )
        .values(used_at=now)
        .returning(Invitation.id)
        .execution_options(synchronize_session=False)
    )
    if used is None:
        raise tokens.refusal()


def _tier(session: Session, id: str) -> str:
    if session.get(Tier, id) is None:
        raise InvalidValue("There is no such tier.", param="tier")
    return id


def _groups(session: Session, ids: Sequence[str]) -> list[str]:
    known = set(session.scalars(select(Group.id).where(Group.id.in_(ids))))
    if known != set(ids):
        raise InvalidValue("There is no such group.", param="groups")
    return sorted(known)


def _end(expires_at: datetime | None, *, now: datetime) -> datetime:
    end = expires_at or now + LIFE
    if not now < end <= now + LONGEST:
        raise InvalidValue(f"An invitation ends within {LONGEST.days} days.", param="expires_at")
    return end
