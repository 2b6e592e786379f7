"""Asks the nest for predictors: the authorizer's side of the nest's socket."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dormouse_control.nest import lines


class NestUnavailable(Exception):
    """The nest does not answer, or went away while the call waited."""


class NestClient:
    """One connection, opened when needed and again after it broke.

    `leaving` hears the address of every predictor that must be asked for anew before more calls are
    sent there, and None if nobody would tell: the connection broke.
    """

    def __init__(self, socket: Path, leaving: Callable[[str | None], None] | None = None) -> None:
        self._path = socket
        self._leaving = leaving or (lambda _: None)
        self._writer: asyncio.StreamWriter | None = None
        self._reader_task: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._connecting = asyncio.Lock()

    async def acquire(
        self,
        *,
        service: str,
        model: str,
        priority: int,
        request_id: str,
        user: str,
        early: bool = False,
    ) -> dict[str, Any]:
        """The nest's answer; `early`: also one that still loads will do. Raises `NestUnavailable`;
        cancelling leaves the queue.
        """
        writer = await self._connected()
        number = next(self._numbers)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        writer.write(
            lines.encode(
                {
                    "id": number,
                    "op": "acquire",
                    "service": service,
                    "model": model,
                    "priority": priority,
                    "request_id": request_id,
                    "user": user,
                    "early": early,
                }
            )
        )
        try:
            return await future
        except asyncio.CancelledError:
            if not writer.is_closing():
                writer.write(lines.encode({"op": "cancel", "of": number}))
            raise
        finally:
            self._answers.pop(number, None)

    def expect(self, *, service: str, model: str) -> None:
        """A call is on its way, if nothing holds it up: a predictor may wake already. Says nothing
        while there is no connection."""
        if self._writer is not None and not self._writer.is_closing():
            told = {"op": "expect", "service": service, "model": model}
            self._writer.write(lines.encode(told))

    async def _connected(self) -> asyncio.StreamWriter:
        if self._writer is not None and not self._writer.is_closing():
            return self._writer
        async with self._connecting:
            if self._writer is None or self._writer.is_closing():
                try:
                    reader, self._writer = await asyncio.open_unix_connection(
                        self._path, limit=lines.MAX_LINE
                    )
                except OSError as error:
                    raise NestUnavailable("the nest does not answer") from error
                self._reader_task = asyncio.create_task(self._read(reader, self._writer))
            return self._writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (message := await lines.read(reader)) is not None:
                if message.get("event") == "leaving":
                    self._leaving(message["address"])
                    continue
                future = self._answers.get(message["id"])
                if future is not None and not future.done():
                    future.set_result(message)
        finally:
            writer.close()
            self._leaving(None)
            for future in self._answers.values():
                if not future.done():
                    future.set_exception(NestUnavailable("the nest went away"))
