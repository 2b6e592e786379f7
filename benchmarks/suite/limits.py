"""G9: 64 callers race for a key's last calls at three authorizers that share its limit."""

import asyncio
import math
import time
from pathlib import Path

import uvloop

from suite import catalogue
from suite.ours import Ours
from suite.results import Results
from suite.rounds import spread

CALLERS = 64
LIMIT = 60
"""Calls a minute: one more is allowed for each second that passes."""


def race(results: Results, ours: Ours, *, rounds: int, calls: int) -> None:
    """`calls` of each caller; whatever comes beyond the limit, in any round, is an error."""
    over, admitted = [], []
    for _ in range(rounds):
        key = ours.make_key(requests_per_minute=LIMIT)
        began = time.monotonic()
        found = uvloop.run(_race(ours.authorizers, key, calls))
        allowed = LIMIT + math.floor((time.monotonic() - began) * LIMIT / 60)
        over.append(float(max(0, found - allowed)))
        admitted.append(f"{found} of {allowed}")
    results.put("G9", spread([max(over)]))
    results.note(f"G9: admitted, of allowed, with {len(ours.authorizers)} authorizers", admitted)


async def _race(authorizers: tuple[Path, ...], key: str, calls: int) -> int:
    callers = [
        _caller(authorizers[number % len(authorizers)], key, calls) for number in range(CALLERS)
    ]
    return sum(await asyncio.gather(*callers))


async def _caller(authorizer: Path, key: str, calls: int) -> int:
    """How many were admitted, asked as the gateway asks."""
    reader, writer = await asyncio.open_unix_connection(authorizer)
    question = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: authorizer\r\ncontent-length: 0\r\n"
        f"authorization: Bearer {key}\r\nx-dormouse-model: model-000\r\n"
        f"x-request-id: {catalogue.SERVICE}\r\n\r\n"
    ).encode()
    admitted = 0
    for _ in range(calls):
        writer.write(question)
        head = await reader.readuntil(b"\r\n\r\n")
        admitted += head.startswith(b"HTTP/1.1 200 ")
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                await reader.readexactly(int(value))
    writer.close()
    return admitted
