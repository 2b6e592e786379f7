"""`client.requests`: calls of models that nobody waits for."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal  # a body is JSON

from dormouse.answers import Page, build, build_page
from dormouse.asynchronous import AsyncRequest, WebhookSecret
from dormouse.calls import Call, segment
from dormouse.errors import APITimeoutError
from dormouse.resources.inference import inference_call
from dormouse.transport import Transport

Endpoint = Literal["chat.completions", "completions", "embeddings"]
_PATH = "/api/v1/requests"
_LONGEST_PAUSE = 5.0


class AsyncRequests:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, endpoint: Endpoint, *, webhook: str | None = None, **options: Any
    ) -> AsyncRequest:
        """Leave a call with the platform, with the options that it has elsewhere.

        `webhook` is an https:// URL that is told when it has ended.
        """
        path = f"/v1/{endpoint.replace('.', '/')}"
        call = inference_call(path, options, needs=("model",))
        more: Mapping[str, str] = {"prefer": "respond-async"}
        if webhook is not None:
            more = {**more, "x-dormouse-webhook": webhook}
        call = replace(call, headers={**call.headers, **more}, repeatable=True)
        return build(AsyncRequest, self._transport.send(call).data)

    def get(self, id: str) -> AsyncRequest:
        """How far it is, and its result once it has ended."""
        call = Call("GET", f"{_PATH}/{segment(id)}")
        return build(AsyncRequest, self._transport.send(call).data)

    def list(self, *, after: str | None = None) -> Page[AsyncRequest]:
        """Newest first, without results."""
        call = Call("GET", _PATH, query={"after": after})
        turn = lambda cursor: self.list(after=cursor)  # noqa: E731 - shorter than a def
        return build_page(AsyncRequest, self._transport.send(call).data, turn=turn)

    def cancel(self, id: str) -> None:
        """One that has ended is erased."""
        self._transport.send(Call("DELETE", f"{_PATH}/{segment(id)}"))

    def wait(self, id: str, *, timeout: float | None = None) -> AsyncRequest:
        """Until it has ended. Raises `APITimeoutError` after `timeout` seconds."""
        began, pause = time.monotonic(), 0.1
        while not (found := self.get(id)).ended:
            left = None if timeout is None else timeout - (time.monotonic() - began)
            if left is not None and left <= 0:
                raise APITimeoutError(f"{id} has not ended within {timeout:g} s")
            time.sleep(pause if left is None else min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        return found

    def make_webhook_secret(self) -> WebhookSecret:
        """What webhooks are signed with from now on; its `secret` is shown this once."""
        call = Call("POST", "/api/v1/webhook-secret", repeatable=True)
        return build(WebhookSecret, self._transport.send(call).data)
