"""Makes one call of a user's through the gateway, as any other client would.

With a delegation in place of the user's credential, which is stored nowhere. It is signed for this
call's id and looked at once, when the call begins; what it stands for the authorizer asks anew.
"""

from pathlib import Path

import httpx

from dormouse.delegation import Delegation, sign_delegation
from dormouse.tokens import SigningKey
from dormouse_control.requests.decisions import Answered, Broken
from dormouse_control.requests.models import AsyncRequest

LONGEST_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer that are kept."""

# Longer than the gateway lets a call wait for its service and then run: it ends calls, not we.
_TIMEOUT = httpx.Timeout(connect=5, write=60, pool=None, read=1300)


def client(socket: Path) -> httpx.AsyncClient:
    """Of the gateway; one connection a call, so that giving one up ends it there too."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(socket), limits=limits),
        base_url="http://gateway",
        timeout=_TIMEOUT,
        trust_env=False,
    )


async def perform(
    gateway: httpx.AsyncClient, request: AsyncRequest, body: bytes, *, key: SigningKey, now: float
) -> Answered | Broken:
    """Cancelling it hangs up, which ends the call at the predictor."""
    delegation = Delegation(request.user_id, request.credential, request.call_id, request.address)
    named = {
        "accept": "application/json",
        **request.headers,
        "x-dormouse-model": request.model,
        "x-request-id": request.call_id,
        "authorization": f"Bearer {sign_delegation(delegation, key=key, now=now)}",
    }
    # As they came: the control plane reads the bytes of headers as Latin-1.
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
    begun = False
    try:
        async with gateway.stream("POST", request.path, headers=headers, content=body) as response:
            begun = True
            content = await _content(response)
    except httpx.HTTPError as error:
        return Broken(type(error).__name__, begun)
    return Answered(response.status_code, content, _seconds(response.headers.get("retry-after")))


async def _content(response: httpx.Response) -> bytes | None:
    """None if it is too long."""
    parts, length = [], 0
    async for part in response.aiter_raw():
        length += len(part)
        if length > LONGEST_ANSWER:
            return None
        parts.append(part)
    return b"".join(parts)


def _seconds(text: str | None) -> int | None:
    known = text is not None and text.isascii() and text.isdigit() and len(text) < 8
    return int(text) if known and text is not None else None
