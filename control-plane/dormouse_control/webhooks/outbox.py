"""Webhooks on their way: promised with the request, due at its end, tried until they are taken.

At least once: what was sent and not noted is sent again, under the same id.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from dormouse_control.errors import InvalidValue, RequestsTakeTooMuch, WebhookSecretMissing
from dormouse_control.naming import new_id
from dormouse_control.requests.models import AsyncRequest
from dormouse_control.settings import Settings
from dormouse_control.webhooks.addresses import Allowed, Refused, target
from dormouse_control.webhooks.models import DeliveryState, WebhookDelivery, WebhookSecret

GIVEN_UP_AFTER = timedelta(hours=12)
_LONGEST_PAUSE = timedelta(hours=1)
LEASE = timedelta(seconds=15)
"""Longer than an attempt may take."""

PENDING_FOR_EACH_OPEN = 5
"""So many times as many as may be open may be on their way, whatever their receivers do."""

_BATCH = 20
_MOST_LOOKED_AT = 1000


def promise(session: Session, request: AsyncRequest, url: str, *, settings: Settings) -> None:
    """Raises `InvalidValue` for a URL that cannot be, `WebhookSecretMissing`, or
    `RequestsTakeTooMuch` if so many are on their way that nobody takes."""
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
    _check_pending(session, request.user_id, settings)
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


def _check_pending(session: Session, user_id: str, settings: Settings) -> None:
    mine = (WebhookDelivery.user_id == user_id, WebhookDelivery.state == DeliveryState.PENDING)
    most = PENDING_FOR_EACH_OPEN * settings.async_requests
    if (session.scalar(select(func.count()).select_from(WebhookDelivery).where(*mine)) or 0) < most:
        return
    raise RequestsTakeTooMuch(
        f"{most} webhooks of yours wait for somebody who takes them. DELETE those of their requests"
        " that you need no more, or ask without one.",
        param="x-dormouse-webhook",
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


def on_their_way() -> Select[str]:
    """The requests whose webhook is still tried."""
    pending = WebhookDelivery.state == DeliveryState.PENDING
    return select(WebhookDelivery.request_id).where(pending)


def waiting(reading: Session, *, now: datetime) -> Sequence[WebhookDelivery]:
    """Those that should be sent now: each user's oldest, before anybody's second oldest."""
    order = (WebhookDelivery.next_at, WebhookDelivery.id)
    number = func.row_number().over(partition_by=WebhookDelivery.user_id, order_by=order)
    numbered = (
        select(WebhookDelivery.id, number.label("number"))
        .where(WebhookDelivery.next_at <= now)
        .subquery()
    )
    return reading.scalars(
        select(WebhookDelivery)
        .join(numbered, numbered.c.id == WebhookDelivery.id)
        .where(numbered.c.number <= _BATCH)
        .order_by(numbered.c.number, *order)
        .limit(_MOST_LOOKED_AT)
    ).all()


def claim(session: Session, delivery: WebhookDelivery, *, now: datetime) -> bool:
    """Whether it is ours to send, as it was seen; nobody else's while an attempt may last."""
    claimed = session.scalar(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery.id, WebhookDelivery.next_at == delivery.next_at)
        .values(
            next_at=now + max(pause(delivery.attempts), LEASE),
            attempts=WebhookDelivery.attempts + 1,
        )
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
) -> DeliveryState | None:
    """What came of an attempt. 410 (Gone) means that nobody wants it any more.

    `delivery` is as it was before its claim. None, and nothing written, if it was claimed again.
    """
    began = delivery.due_from or now
    next_at = None
    if reply is not None and 200 <= reply < 300:
        state = DeliveryState.DELIVERED
    elif reply == 410 or now - began >= GIVEN_UP_AFTER:
        state = DeliveryState.GIVEN_UP
    else:
        state = DeliveryState.PENDING
        next_at = now + pause(delivery.attempts)
    noted = session.scalar(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery.id, WebhookDelivery.attempts == delivery.attempts + 1)
        .values(state=state, reply=reply, problem=problem, next_at=next_at)
        .returning(WebhookDelivery.id)
        .execution_options(synchronize_session=False)
    )
    return state if noted is not None else None
