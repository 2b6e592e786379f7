"""Sends the webhooks that are due, several at a time."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from dormouse_control.background import repeat
from dormouse_control.requests.models import AsyncRequest
from dormouse_control.webhooks import outbox, posting, secrets
from dormouse_control.webhooks.addresses import Allowed
from dormouse_control.webhooks.models import WebhookDelivery
from dormouse_control.webhooks.signing import signed_headers
from dormouse_control.wiring import Platform

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class _Message:
    body: bytes
    headers: Mapping[str, str]


class Sender:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._allowed = Allowed.of(platform.settings.webhook_allowed)

    async def run(self, stop: asyncio.Event) -> None:
        await repeat(stop, self.send_due, seconds=LOOK_SECONDS)

    async def send_due(self) -> None:
        """What failed is tried again later."""
        due = await asyncio.to_thread(self._due)
        await asyncio.gather(*(self._send(each) for each in due))

    def _due(self) -> Sequence[WebhookDelivery]:
        with self._platform.database.reads() as reading:
            return outbox.waiting(reading, now=self._platform.clock())

    async def _send(self, delivery: WebhookDelivery) -> None:
        message = await asyncio.to_thread(self._claimed, delivery)
        if message is None:
            return
        reply, problem = None, None
        try:
            reply = await posting.post(delivery.url, message.body, message.headers, self._allowed)
        except Exception as error:
            # Also what the libraries below should not raise: one must not stop the others.
            problem = posting.problem(error)
        await asyncio.to_thread(self._note, delivery, reply, problem)

    def _claimed(self, delivery: WebhookDelivery) -> _Message | None:
        platform = self._platform
        now = platform.clock()
        with platform.database.sessions.begin() as session:
            if not outbox.claim(session, delivery, now=now):
                return None
            request = session.get_one(AsyncRequest, delivery.request_id)
            keys = secrets.signing(session, delivery.user_id, sealing=platform.sealing, now=now)
        location = f"{platform.settings.public_url.rstrip('/')}/api/v1/requests/{request.id}"
        ended = request.ended_at or now
        document = {
            "type": f"request.{request.status.value}",
            "timestamp": ended.isoformat().replace("+00:00", "Z"),
            "data": {"id": request.id, "status": request.status.value, "location": location},
        }
        body = json.dumps(document).encode()
        headers = signed_headers(body, id=delivery.id, timestamp=int(now.timestamp()), secrets=keys)
        return _Message(body, headers)

    def _note(self, delivery: WebhookDelivery, reply: int | None, problem: str | None) -> None:
        now = self._platform.clock()
        with self._platform.database.sessions.begin() as session:
            state = outbox.note(session, delivery, reply=reply, problem=problem, now=now)
        log.info(
            "webhook_sent",
            request=delivery.request_id,
            state=state.value,
            reply=reply,
            problem=problem,
        )
