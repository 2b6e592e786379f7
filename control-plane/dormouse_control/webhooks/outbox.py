"""Webhooks on their way: promised with the request, due at its end, tried until they are taken.

At least once: what was sent and not noted is sent again, under the same id.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dormouse_control.errors import InvalidValue, WebhookSecretMissing
from dormouse_control.naming import new_id
from dormouse_control.requests.models import AsyncRequest
from dormouse_control.settings import Settings
from dormouse_control.webhooks.addresses import Allowed, Refused, target
from dormouse_control.webhooks.models import DeliveryState, WebhookDelivery, WebhookSecret

GIVEN_UP_AFTER = timedelta(hours=12)
_LONGEST_PAUSE = timedelta(hours=1)
_BATCH = 20


def promise(session: Session, request: AsyncRequest, url: str, *, settings: Settings) -> None:
    """Raises `InvalidValue` for a URL that cannot be, or `WebhookSecretMissing`."""
    try:
        target(url, Allowed.of(settings.webhook_allowed))
    except Refused as refused:
        raise InvalidValue(str(refused), param="x-dormouse-webhook") from None
    if session.get(WebhookSecret, request.user_id) is None:
        raise WebhookSecretMissing(
            "Make the secret that your webhooks are signed with first: POST"
            " /api/v1/webhook-secret.",
            param="x-dormouse-webhook",
        )
    session.add(
        WebhookDelivery(
            id=new_id("msg"),
            request_id=request.id,
            user_id=request.user_id,
            url=url,
            state=DeliveryState.WAITING,
            attempts=0,
        )
    )


def due(session: Session, requests: Sequence[str], *, now: datetime) -> None:
    """These have ended: who asked to be told is told, if this transaction is committed."""
    if requests:
        session.execute(
            update(WebhookDelivery)
            .where(
                WebhookDelivery.request_id.in_(requests),
                WebhookDelivery.state == DeliveryState.WAITING,
            )
            .values(state=DeliveryState.PENDING, next_at=now, due_from=now)
            .execution_options(synchronize_session=False)
        )


def waiting(reading: Session, *, now: datetime) -> Sequence[WebhookDelivery]:
    """The oldest that should be sent now."""
    return reading.scalars(
        select(WebhookDelivery)
        .where(WebhookDelivery.next_at <= now)
        .order_by(WebhookDelivery.next_at)
        .limit(_BATCH)
    ).all()


def claim(session: Session, delivery: WebhookDelivery, *, now: datetime) -> bool:
    """Whether it is ours to send, as it was seen. Nobody else's before the pause is over."""
    claimed = session.scalar(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery.id, WebhookDelivery.next_at == delivery.next_at)
        .values(next_at=now + pause(delivery.attempts), attempts=WebhookDelivery.attempts + 1)
        .returning(WebhookDelivery.id)
        .execution_options(synchronize_session=False)
    )
    return claimed is not None


def pause(attempts: int) -> timedelta:
    """How long to wait after so many attempts that failed, and this one: 2, 6, 18 seconds …"""
    return min(timedelta(seconds=2 * 3 ** min(attempts, 10)), _LONGEST_PAUSE)


def note(
    session: Session,
    delivery: WebhookDelivery,
    *,
    reply: int | None,
    problem: str | None,
    now: datetime,
) -> DeliveryState:
    """What came of an attempt. 410 (Gone) means that nobody wants it any more."""
    began = delivery.due_from or now
    if reply is not None and 200 <= reply < 300:
        state = DeliveryState.DELIVERED
    elif reply == 410 or now - began >= GIVEN_UP_AFTER:
        state = DeliveryState.GIVEN_UP
    else:
        state = DeliveryState.PENDING
    values = {"state": state, "reply": reply, "problem": problem}
    over = {} if state is DeliveryState.PENDING else {"next_at": None}
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery.id)
        .values(**values, **over)
        .execution_options(synchronize_session=False)
    )
    return state
