"""Sends the webhooks that are due, several at a time."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from dormouse_control.background import repeat, to_its_end
from dormouse_control.requests.models import AsyncRequest
from dormouse_control.webhooks import outbox, posting, secrets
from dormouse_control.webhooks.addresses import Allowed
from dormouse_control.webhooks.decisions import choose, host_of
from dormouse_control.webhooks.lookups import Lookups
from dormouse_control.webhooks.models import WebhookDelivery
from dormouse_control.webhooks.signing import signed_headers
from dormouse_control.wiring import Platform

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class _Message:
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class _Sending:
    user_id: str
    host: str
    task: "asyncio.Task[None]"


class Sender:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._allowed = Allowed.of(platform.settings.webhook_allowed)
        self._lookups = Lookups()
        self._sending: dict[str, _Sending] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what is on its way then is sent again by the next control plane."""
        await repeat(stop, self._begin, seconds=LOOK_SECONDS)
        tasks = [each.task for each in self._sending.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self) -> None:
        """Nobody waits here for a receiver: places that are free again are given away each time."""
        due = await asyncio.to_thread(self._due)
        due = [each for each in due if each.id not in self._sending]
        running = [(each.user_id, each.host) for each in self._sending.values()]
        for delivery in choose(due, running):
            task = asyncio.create_task(self._send(delivery))
            host = host_of(delivery.url)
            self._sending[delivery.id] = _Sending(delivery.user_id, host, task)

    def _due(self) -> Sequence[WebhookDelivery]:
        with self._platform.database.reads() as reading:
            return outbox.waiting(reading, now=self._platform.clock())

    async def _send(self, delivery: WebhookDelivery) -> None:
        try:
            message = await asyncio.to_thread(self._claimed, delivery)
            if message is not None:
                reply, problem = await self._posted(delivery, message)
                await to_its_end(self._note, delivery, reply, problem)
        except Exception:
            log.exception("webhook_failed", request=delivery.request_id)  # tried again later
        finally:
            self._sending.pop(delivery.id, None)

    async def _posted(
        self, delivery: WebhookDelivery, message: _Message
    ) -> tuple[int | None, str | None]:
        try:
            reply = await posting.post(
                delivery.url,
                message.body,
                message.headers,
                allowed=self._allowed,
                lookup=partial(self._lookups.addresses, delivery.user_id),
            )
        except Exception as error:
            # Also what the libraries below should not raise: it is an attempt that failed.
            return None, posting.problem(error)
        return reply, None

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
            state=state.value if state is not None else "not_ours",
            reply=reply,
            problem=problem,
        )
