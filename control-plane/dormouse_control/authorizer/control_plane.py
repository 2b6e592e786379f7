"""The authorizer's questions to the control plane: principals, routes and the revocation stream."""

import asyncio
import uuid
from typing import Any

import httpx
from structlog import get_logger

from dormouse_control.authorizer.accounting.leasing import LeasesRefused
from dormouse_control.authorizer.internal_tokens import InternalTokens
from dormouse_control.authorizer.permits import Permits
from dormouse_control.authorizer.principals import (
    ControlPlaneDown,
    Principal,
    Principals,
    read_principal,
)

log = get_logger(__name__)

POLL_SECONDS = 20
RETRY_SECONDS = 0.25
TIMEOUT_SECONDS = 2.0
LEASES_SECONDS = 1.0


class ControlPlane:
    def __init__(self, socket: str) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=socket),
            base_url="http://control-plane/internal/v1",
            timeout=TIMEOUT_SECONDS,
        )
        self._name = uuid.uuid4().hex

    async def principal(self, question: dict[str, str]) -> Principal | None:
        try:
            answer = await self._client.post("/principals", json=question)
            if answer.status_code == 404:
                return None
            found = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise ControlPlaneDown(repr(error)) from error
        return read_principal(found)

    async def routes(self, known: str | None) -> tuple[str, dict[str, dict[str, Any]] | None]:
        params = {} if known is None else {"known": known}
        try:
            answer = (await self._client.get("/routes", params=params)).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise ControlPlaneDown(repr(error)) from error
        return str(answer["version"]), answer["models"]

    async def leases(self, batch: dict[str, Any]) -> dict[str, Any]:
        try:
            asked = self._client.post("/leases", json=batch, timeout=LEASES_SECONDS)
            answered = await asked
            if 400 <= answered.status_code < 500:
                raise LeasesRefused(answered.text)
            answer = answered.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise ControlPlaneDown(repr(error)) from error
        found: dict[str, Any] = answer
        return found

    async def follow_revocations(
        self, principals: Principals, tokens: InternalTokens, permits: Permits | None = None
    ) -> None:
        """Never returns. While the control plane is away, who is known stays known."""
        last, connected = -1, False
        while True:
            try:
                answer = await self._revocations(last)
            except (httpx.HTTPError, ValueError) as error:
                if connected:
                    log.warning("control_plane_lost", reason=repr(error))
                connected = False
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if not connected:
                log.info("control_plane_found", last=answer["last"])
            connected = True
            # Before the first answer nobody told us what was revoked.
            if answer["reset"] or last == -1:
                principals.forget_all()
                tokens.forget_all()
                if permits is not None:
                    permits.withdraw_all()
            elif answer["items"]:
                principals.revoke(answer["items"])
                tokens.revoke(answer["items"])
                if permits is not None:
                    permits.withdraw(named={item["id"] for item in answer["items"]})
            last = tokens.position = answer["last"]

    async def _revocations(self, after: int) -> Any:
        answer = await self._client.get(
            "/revocations",
            params={"after": after, "wait": POLL_SECONDS, "follower": self._name},
            timeout=POLL_SECONDS + TIMEOUT_SECONDS,
        )
        return answer.raise_for_status().json()
