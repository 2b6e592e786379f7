"""From a row of the outbox to a message, with a new token where the link needs one.

Only here is looked up who has the address: nobody who asks for mail can tell from the answer.
"""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from dormouse_control.identity.models import User, UserStatus
from dormouse_control.invitations import operations as invitations
from dormouse_control.invitations.models import Invitation
from dormouse_control.mail import messages
from dormouse_control.mail.messages import Message
from dormouse_control.mail.models import Mail, MailKind
from dormouse_control.proofs import tokens
from dormouse_control.proofs.models import TokenKind
from dormouse_control.sealing import Sealing

_TOKENS = {
    MailKind.VERIFY_EMAIL: (TokenKind.VERIFY_EMAIL, timedelta(hours=24)),
    MailKind.RESET_PASSWORD: (TokenKind.RESET_PASSWORD, timedelta(hours=1)),
}
_LIVING = (UserStatus.ACTIVE, UserStatus.UNVERIFIED, UserStatus.PENDING)


def prepare(
    session: Session, mail: Mail, *, url: str, sealing: Sealing, now: datetime
) -> Message | None:
    """None if there is nothing to be said any more, or nobody to say it to."""
    token = None
    if mail.kind is MailKind.INVITATION:
        token = _invitation(session, mail.token, sealing=sealing, now=now)
        if token is None:
            return None
    elif mail.kind not in (MailKind.CHANGED, MailKind.BUDGET):
        user = session.scalar(select(User).where(User.email == mail.address))
        if user is None or user.status not in _LIVING:
            return None
        if mail.kind is MailKind.VERIFY_EMAIL and user.email_verified_at is not None:
            return None
        token = _token(session, mail.kind, user, sealing=sealing, now=now)
    return messages.write(mail.kind, to=mail.address, url=url, token=token, about=mail.about)


def _token(
    session: Session, kind: MailKind, user: User, *, sealing: Sealing, now: datetime
) -> str | None:
    if kind not in _TOKENS:
        return None
    purpose, life = _TOKENS[kind]
    if purpose is TokenKind.RESET_PASSWORD:
        tokens.end_all(session, user_id=user.id, kind=purpose, now=now)
    issued = tokens.issue(session, purpose, user_id=user.id, bound=user.email, life=life, now=now)
    return tokens.write(issued.id, purpose.value, sealing)


def _invitation(session: Session, id: str | None, *, sealing: Sealing, now: datetime) -> str | None:
    found = session.get(Invitation, id) if id else None
    if found is None or not invitations.is_good(found, now=now):
        return None
    return tokens.write(found.id, invitations.PURPOSE, sealing)
