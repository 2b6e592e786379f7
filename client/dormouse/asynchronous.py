"""What `client.requests` returns: calls that nobody waits for, as the HTTP API names them."""

from dataclasses import dataclass
from typing import Any  # what a model answered is JSON

from dormouse.answers import Answer

OPEN = ("queued", "running")


@dataclass(frozen=True, kw_only=True)
class Refusal(Answer):
    message: str = ""
    code: str = ""
    type: str = ""
    param: str | None = None


@dataclass(frozen=True, kw_only=True)
class Webhook(Answer):
    """`state` is "waiting", "pending", "delivered" or "given_up"; `reply` the last status."""

    url: str
    state: str = ""
    attempts: int = 0
    next_at: str | None = None
    reply: int | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class RequestResult(Answer):
    """`body` is what the model answered, in OpenAI's shape."""

    status_code: int
    body: Any = None
    usage: Any = None


@dataclass(frozen=True, kw_only=True)
class AsyncRequest(Answer):
    """`status` is "queued", "running", "completed", "failed", "cancelled" or "expired"."""

    id: str
    status: str
    model: str = ""
    endpoint: str = ""
    stage: str | None = None
    position: int | None = None
    attempts: int = 0
    created_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    expires_at: str | None = None
    erased_at: str | None = None
    request_id: str | None = None
    refusal: Refusal | None = None
    webhook: Webhook | None = None
    result: RequestResult | None = None

    @property
    def ended(self) -> bool:
        return self.status not in OPEN


@dataclass(frozen=True, kw_only=True)
class WebhookSecret(Answer):
    """`secret` is there only in the answer that makes it."""

    created_at: str | None = None
    previous_until: str | None = None
    secret: str | None = None
