"""One JSON object per line over a stream socket: what our processes on one machine speak."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any  # a message is JSON until it is checked

MAX_LINE = 65536


class BadLine(Exception):
    """The other side sent something that is no JSON object."""


def encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


async def read(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message; None once the other side is gone. Raises `BadLine`."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return None
    except ValueError as error:
        raise BadLine("line too long") from error
    if not line.endswith(b"\n"):
        return None
    try:
        message = json.loads(line)
    except ValueError as error:
        raise BadLine("not JSON") from error
    if not isinstance(message, dict):
        raise BadLine("not an object")
    return message
