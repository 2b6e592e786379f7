"""Asks the gateway, as a caller would, whether the platform is ready."""

import asyncio
import time

import httpx

from dormouse_control.settings import Settings

READY_SECONDS = 60.0


async def until_ready(settings: Settings) -> str | None:
    """None once the gateway says that all is ready, else what it says instead."""
    problem = "the gateway does not answer"
    scheme = "http" if settings.tls == "off" else "https"
    url = f"{scheme}://{_loopback(settings.host)}:{settings.port}/readyz"
    deadline = time.monotonic() + READY_SECONDS
    # Whether it answers, not who it is: a certificate of yours need not name this address.
    async with httpx.AsyncClient(timeout=2, trust_env=False, verify=False) as client:  # noqa: S501
        while time.monotonic() < deadline:
            try:
                answer = await client.get(url)
                if answer.status_code == 200:
                    return None
                problem = answer.text
            except httpx.HTTPError:
                problem = "the gateway does not answer"
            await asyncio.sleep(0.1)
    return problem


def _loopback(host: str) -> str:
    if host == "0.0.0.0":  # noqa: S104  asks, does not bind
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
