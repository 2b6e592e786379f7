"""The predictor's side of the control socket: JSON lines to and from the nest."""

import asyncio
import itertools
import json
import socket
from collections.abc import Callable
from typing import Any  # JSON

from dormouse.catalog import Model
from dormouse_predictors.errors import CallError
from dormouse_predictors.placing import Alone, Placement, insufficient_memory

ALIVE_EVERY = 1.0
GRACE_MS = 500

PLACE_SECONDS = 60.0
"""The nest ends other models first if it has to, and that takes a while; but not for ever."""

Drain = Callable[[int], None]


class Control:
    """Events to the nest. Without a socket (in a container) they go nowhere. Event loop only."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._numbers = itertools.count(1)
        self._places: dict[int, asyncio.Future[Placement | None]] = {}
        self._nest_is_gone = False
        self._alone = Alone()

    async def open(self, connection: socket.socket) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(sock=connection)

    def send(self, event: str, **values: Any) -> None:
        if self._writer is not None and not self._writer.is_closing():
            line = json.dumps({"event": event, **values}, separators=(",", ":"))
            self._writer.write(line.encode() + b"\n")

    async def place(self, model: Model, *, engine: str) -> Placement:
        """Where the model is to be loaded, in place of the one that is. To be asked before that one
        is given up: if there is no place for the other, it stays.

        Raises `CallError` (503): `insufficient_memory`, with the numbers, or `unavailable`.
        """
        found = await self._asked_of_nest(model.id)
        if found is not None:
            return found
        return await asyncio.to_thread(self._alone.place, model, engine)

    async def _asked_of_nest(self, model: str) -> Placement | None:
        """None if there is no nest, or it goes away meanwhile."""
        if self._writer is None or self._nest_is_gone:
            return None
        number = next(self._numbers)
        future: asyncio.Future[Placement | None] = asyncio.get_running_loop().create_future()
        self._places[number] = future
        self.send("place", number=number, model=model)
        try:
            return await asyncio.wait_for(future, PLACE_SECONDS)
        except TimeoutError:
            text = "The platform does not say where the model may be loaded."
            raise CallError(503, "unavailable", text, retry_after=1) from None
        finally:
            del self._places[number]

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
                self._heard(json.loads(line), drain)
            except (ValueError, KeyError, TypeError):
                continue
        self._nest_is_gone = True
        for future in self._places.values():
            if not future.done():
                future.set_result(None)
        drain(GRACE_MS)

    def _heard(self, message: dict[str, Any], drain: Drain) -> None:
        match message["op"]:
            case "drain":
                drain(int(message.get("grace_ms", GRACE_MS)))
            case "placed" if (future := self._waiting_for(message)) is not None:
                place = message["gpu"], int(message["gpu_layers"]), message.get("contexts")
                future.set_result(Placement(*place))
            case "refused" if (future := self._waiting_for(message)) is not None:
                error = insufficient_memory(str(message["message"]), message.get("retry_after"))
                future.set_exception(error)

    def _waiting_for(self, message: dict[str, Any]) -> "asyncio.Future[Placement | None] | None":
        """Whoever waits for this answer, if anybody does."""
        future = self._places.get(message["number"])
        return None if future is None or future.done() else future

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
