"""HTTP of the secret that webhooks are signed with."""

from fastapi import APIRouter

from dormouse_control import rules
from dormouse_control.deps import ActorDep, CallerDep, PlatformDep, ReadingDep, SessionDep
from dormouse_control.idempotency.route import RepeatableRoute
from dormouse_control.webhooks import secrets
from dormouse_control.webhooks.models import WebhookSecret
from dormouse_control.webhooks.schemas import WebhookSecretMade, WebhookSecretRead

router = APIRouter(prefix="/api/v1/webhook-secret", route_class=RepeatableRoute)


@router.post("", status_code=201, response_model=WebhookSecretMade, dependencies=[rules.SIGNED_IN])
def make_webhook_secret(
    caller: CallerDep, actor: ActorDep, session: SessionDep, platform: PlatformDep
) -> WebhookSecretMade:
    """Make the secret that your webhooks are signed with, or a new one. It is shown only here.

    The one before signs too for another 24 hours.
    """
    row, made = secrets.rotate(
        session,
        user_id=caller.id,
        sealing=platform.sealing,
        actor=actor,
        now=platform.clock(),
    )
    return WebhookSecretMade(
        created_at=row.created_at, previous_until=row.previous_until, secret=made
    )


@router.get("", response_model=WebhookSecretRead, dependencies=[rules.FULL_CALLER])
def get_webhook_secret(caller: CallerDep, reading: ReadingDep) -> WebhookSecretRead:
    """When the secret that your webhooks are signed with was made."""
    found = reading.get(WebhookSecret, caller.id)
    if found is None:
        return WebhookSecretRead(created_at=None, previous_until=None)
    return WebhookSecretRead.model_validate(found)
