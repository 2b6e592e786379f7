"""Asks the gateway, as a caller would, whether the platform is ready."""

import asyncio
import ssl
import time

from dormouse_control.supervisor.facts import Facts

READY_SECONDS = 60.0
_ANSWER_SECONDS = 2.0
_SILENT = "the gateway does not answer"


async def until_ready(facts: Facts) -> str | None:
    """None once the gateway says that all is ready, else what it says instead."""
    problem = _SILENT
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                status, problem = await _asked(facts)
        except (OSError, EOFError, ValueError):
            problem = _SILENT
        else:
            if status == 200:
                return None
        await asyncio.sleep(0.1)
    return problem


async def _asked(facts: Facts) -> tuple[int, str]:
    """Status and body."""
    host = _loopback(facts.host)
    reader, writer = await asyncio.open_connection(
        host, facts.port, ssl=_anybody() if facts.tls else None
    )
    try:
        name = f"[{host}]" if ":" in host else host
        asked = f"GET /readyz HTTP/1.1\r\nhost: {name}:{facts.port}\r\nconnection: close\r\n\r\n"
        writer.write(asked.encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return int(head.split(b" ", 2)[1]), body.decode(errors="replace")


def _anybody() -> ssl.SSLContext:
    """Whether it answers, not who it is: a certificate of yours need not name this address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _loopback(host: str) -> str:
    return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104  asks, does not bind
