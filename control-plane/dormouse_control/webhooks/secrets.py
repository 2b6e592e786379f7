"""Rules of the secrets that webhooks are signed with: one for each user, made anew at will."""

import base64
import secrets
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from dormouse_control.audit.record import Actor, record
from dormouse_control.db import take_turn
from dormouse_control.sealing import Sealing
from dormouse_control.webhooks.models import WebhookSecret

PREFIX = "whsec_"
OVERLAP = timedelta(hours=24)
"""So long the secret before signs too: its owner needs time to tell the receivers."""

_BYTES = 32
_PURPOSE = "webhook secret"


def rotate(
    session: Session, *, user_id: str, sealing: Sealing, actor: Actor, now: datetime
) -> tuple[WebhookSecret, str]:
    """A new secret, and how its owner sees it, this once."""
    take_turn(session, f"webhook secret {user_id}")
    fresh = secrets.token_bytes(_BYTES)
    row = session.get(WebhookSecret, user_id)
    if row is None:
        row = WebhookSecret(user_id=user_id)
        session.add(row)
    else:
        row.previous_sealed, row.previous_until = row.secret_sealed, now + OVERLAP
    row.secret_sealed, row.created_at = sealing.seal(_PURPOSE, fresh), now
    record(session, "webhook_secret.make", actor=actor, subject=user_id, now=now)
    return row, PREFIX + base64.b64encode(fresh).decode()


def signing(
    reading: Session, user_id: str, *, sealing: Sealing, now: datetime
) -> tuple[bytes, ...]:
    """The secrets that sign at this moment, the newest first; none for who has none."""
    found = reading.get(WebhookSecret, user_id)
    if found is None:
        return ()
    sealed = [found.secret_sealed]
    if found.previous_sealed and found.previous_until and found.previous_until > now:
        sealed.append(found.previous_sealed)
    return tuple(sealing.unseal(_PURPOSE, each) for each in sealed)
