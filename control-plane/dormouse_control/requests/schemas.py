"""Wire types of asynchronous requests."""

from datetime import datetime
from typing import Any, Literal  # what a model answered

from pydantic import Field

from dormouse_control.requests.models import RequestStatus
from dormouse_control.webhooks.models import DeliveryState
from dormouse_control.wire import Answer, Problem

Stage = Literal["waiting_for_turn", "waiting_to_retry", "calling"]


class WebhookRead(Answer):
    """`waiting` for the request's end, `pending` until the receiver took the message.

    `reply` is the status of its last answer, `problem` why there was none.
    """

    url: str
    state: DeliveryState
    attempts: int
    next_at: datetime | None
    reply: int | None
    problem: str | None


class ResultRead(Answer):
    """What the model's service answered, in its own shape. `usage` is from its body."""

    status_code: int
    body: Any
    usage: dict[str, Any] | None


class RequestRead(Answer):
    """A call that nobody waits for.

    `attempts`: more than 1 if it had to be tried again; it is charged once all the same.
    `position` counts your own requests that are before it. `refusal` is why it has to wait, or
    ended without a result. It is erased at `erased_at`, and expires at `expires_at` unless it has
    begun by then.
    """

    id: str
    status: RequestStatus
    stage: Stage | None
    position: int | None
    model: str
    endpoint: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime
    erased_at: datetime | None
    attempts: int
    request_id: str = Field(description="`x-request-id` of the call, as in the list of usage.")
    refusal: Problem | None
    webhook: WebhookRead | None


class RequestResult(RequestRead):
    result: ResultRead | None
