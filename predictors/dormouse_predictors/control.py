"""The predictor's side of the control socket: JSON lines to and from the nest."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from typing import Any  # JSON

LOAD_EVENTS_EVERY = 0.1
ALIVE_EVERY = 1.0
GRACE_MS = 500

Drain = Callable[[int], None]


class Control:
    """Events to the nest. Without a socket (in a container) they go nowhere. Event loop only."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._reported = 0
        self._reported_at = 0.0

    async def open(self, connection: socket.socket) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(sock=connection)

    def send(self, event: str, **values: Any) -> None:
        if self._writer is not None and not self._writer.is_closing():
            line = json.dumps({"event": event, **values}, separators=(",", ":"))
            self._writer.write(line.encode() + b"\n")

    def load(self, in_flight: int) -> None:
        """Every change between idle and busy; other changes not too often."""
        now = time.monotonic()
        turned = (in_flight == 0) != (self._reported == 0)
        if turned or now - self._reported_at >= LOAD_EVENTS_EVERY:
            self._reported, self._reported_at = in_flight, now
            self.send("load", in_flight=in_flight)

    async def beat(self) -> None:
        """Never returns: says regularly that this event loop still turns."""
        while True:
            self.send("alive")
            await asyncio.sleep(ALIVE_EVERY)

    async def listen(self, drain: Drain) -> None:
        """Calls `drain` when the nest asks for it, or is gone. Returns when it is gone."""
        if self._reader is None:
            return
        while line := await self._line():
            try:
                message = json.loads(line)
                if message["op"] == "drain":
                    drain(int(message.get("grace_ms", GRACE_MS)))
            except (ValueError, KeyError, TypeError):
                continue
        drain(GRACE_MS)

    async def _line(self) -> bytes:
        if self._reader is None:
            return b""
        try:
            return await self._reader.readline()
        except OSError:
            return b""

    async def flush(self) -> None:
        """Returns when the nest has taken everything, or does not."""
        if self._writer is not None:
            try:
                await asyncio.wait_for(self._writer.drain(), 1)
            except (OSError, TimeoutError):
                return

    async def close(self) -> None:
        await self.flush()
        if self._writer is not None:
            self._writer.close()
            try:
                await asyncio.wait_for(self._writer.wait_closed(), 1)
            except (OSError, TimeoutError):
                return
