"""Delivers usage events to the control plane's internal API."""

import ssl
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any  # CloudEvents are JSON

import orjson
import structlog

if TYPE_CHECKING:
    import httpx

_JSON = {"content-type": "application/json"}

_log = structlog.get_logger()


class Undelivered(OSError):
    """The events are not safe elsewhere, or nobody knows whether they are."""


class Sender:
    """`internal_api` is a Unix socket's path, or a URL. For one thread."""

    def __init__(self, internal_api: str) -> None:
        self._internal_api = internal_api

    def __call__(self, events: Sequence[dict[str, Any]]) -> None:
        """Raises `Undelivered`."""
        import httpx

        body = orjson.dumps({"events": list(events)})
        try:
            answer = self._client.post("/internal/v1/events", content=body, headers=_JSON)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise Undelivered(str(error)) from error
        for rejected in answer.json().get("rejected", []):
            _log.error("usage event rejected", **rejected)

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> "httpx.Client":
        import httpx  # takes long, and no call waits for it

        if self._internal_api.startswith(("http://", "https://")):
            return httpx.Client(base_url=self._internal_api, timeout=5)
        # No certificates are needed on a Unix socket, and loading them takes 20 ms of every wake.
        no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        transport = httpx.HTTPTransport(uds=self._internal_api, verify=no_certificates)
        return httpx.Client(
            base_url="http://internal", transport=transport, timeout=5, trust_env=False
        )
