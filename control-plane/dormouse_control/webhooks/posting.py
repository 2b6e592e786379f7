"""One message to a receiver: to the very address that was looked at, without redirects or proxies.

The receiver is somebody's, and may be hostile: little of its answer is read, none of it is kept,
and all of it together takes a few seconds.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import cache

import httpx

from dormouse_control.webhooks.addresses import Allowed, Refused, check, target

SECONDS = 10.0
LONGEST_REPLY = 64 * 1024


Lookup = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, to be reached at a port. Raises OSError."""


async def post(
    url: str, body: bytes, headers: Mapping[str, str], *, allowed: Allowed, lookup: Lookup
) -> int:
    """The status of the answer. Raises `Refused`, OSError, or httpx.HTTPError."""
    async with asyncio.timeout(SECONDS):
        wanted = target(url, allowed)
        address = check(wanted.host, await lookup(wanted.host, wanted.port), allowed)
        numeric = f"[{address}]" if ":" in address else address
        async with (
            httpx.AsyncClient(
                verify=_certificates(), trust_env=False, follow_redirects=False, timeout=SECONDS
            ) as client,
            client.stream(
                "POST",
                f"{wanted.scheme}://{numeric}:{wanted.port}{wanted.path}",
                content=body,
                headers={
                    **headers,
                    "host": wanted.authority,
                    "content-type": "application/json",
                    "accept-encoding": "identity",
                    "user-agent": "Dormouse-Webhook",
                },
                extensions={"sni_hostname": wanted.host},
            ) as reply,
        ):
            length = 0
            async for part in reply.aiter_raw():
                length += len(part)
                if length > LONGEST_REPLY:
                    break
            return reply.status_code


@cache
def _certificates() -> ssl.SSLContext:
    # The machine's own, to which an administrator can add the company's.
    return ssl.create_default_context()


PROBLEMS: Mapping[type[BaseException], str] = {
    Refused: "address_not_allowed",
    TimeoutError: "timeout",
    httpx.TimeoutException: "timeout",
    socket.gaierror: "name_not_resolved",
}


def problem(error: BaseException) -> str:
    """In a word, for the owner: what an error says may name addresses inside."""
    return next((word for kind, word in PROBLEMS.items() if isinstance(error, kind)), "no_answer")
