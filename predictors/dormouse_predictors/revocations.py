"""Follows the control plane's revocations, so that calls end when the right to them does.

While the control plane is away nothing can be revoked, and calls go on as they are.
"""

import asyncio
import ssl
import uuid
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any  # the answer is JSON

import structlog

from dormouse_predictors.revoked import Revoked

if TYPE_CHECKING:
    import httpx

POLL_SECONDS = 20
TIMEOUT_SECONDS = 5
RETRY_SECONDS = 0.25
LONGEST_RETRY = 2.0

_log = structlog.get_logger()


async def follow(internal_api: str, revoked: Revoked) -> None:
    """Never returns. `internal_api` is a Unix socket's path, or a URL."""
    httpx = await asyncio.to_thread(_httpx)
    async with _client(internal_api) as client:
        last, wait, name = -1, RETRY_SECONDS, uuid.uuid4().hex
        while True:
            try:
                news = await _after(client, last, name)
                _apply(news, revoked)
                last, wait = news["last"], RETRY_SECONDS
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                if wait == RETRY_SECONDS:
                    _log.info("revocations not heard", error=repr(error))
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_RETRY)


def _httpx() -> ModuleType:
    """With what it would import at its first call, and hold up the event loop meanwhile."""
    import_module("anyio._backends._asyncio")
    import_module("anyio.abc")
    return import_module("httpx")


def _apply(news: Any, revoked: Revoked) -> None:
    if news["reset"]:
        revoked.forget()
    ended = revoked.learn(news["items"])
    if ended:
        _log.info("calls ended", calls=ended)


async def _after(client: "httpx.AsyncClient", last: int, name: str) -> Any:
    params: dict[str, str | int] = {"after": last, "wait": POLL_SECONDS, "follower": name}
    answer = await client.get("/internal/v1/revocations", params=params)
    return answer.raise_for_status().json()


def _client(internal_api: str) -> "httpx.AsyncClient":
    import httpx

    timeout = httpx.Timeout(TIMEOUT_SECONDS, read=POLL_SECONDS + TIMEOUT_SECONDS)
    if internal_api.startswith(("http://", "https://")):
        return httpx.AsyncClient(base_url=internal_api, timeout=timeout)
    # No certificates are needed on a Unix socket, and loading them takes 20 ms of every wake.
    no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    transport = httpx.AsyncHTTPTransport(uds=internal_api, verify=no_certificates)
    return httpx.AsyncClient(
        base_url="http://internal", transport=transport, timeout=timeout, trust_env=False
    )
