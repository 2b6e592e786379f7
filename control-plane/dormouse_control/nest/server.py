"""The nest's socket: acquire, cancel, expect, place, ping, status, wake, sleep, adopt.

Many questions at a time, each answered when there is an answer.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from typing import Any

from structlog import get_logger

from dormouse.queue import PRIORITIES
from dormouse_control.nest import lines, states
from dormouse_control.nest.service import ServiceRunner
from dormouse_control.nest.waiting import Asked, Refused

log = get_logger(__name__)


class Connection:
    """One client. When it goes, whatever it waited for leaves the queue. `adopt` has the facts read
    again.
    """

    def __init__(
        self,
        services: Mapping[str, ServiceRunner],
        adopt: Callable[[], None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._services = services
        self._adopt = adopt
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        try:
            while (message := await lines.read(self._reader)) is not None:
                self._handle(message)
        except (lines.BadLine, KeyError, TypeError, ValueError) as error:
            log.warning("bad_message", reason=repr(error))
        finally:
            for task in self._waiting.values():
                task.cancel()
            self._writer.close()

    def _handle(self, message: dict[str, Any]) -> None:
        match message["op"]:
            case "acquire":
                number = int(message["id"])
                self._begin(number, self._acquire(number, str(message["service"]), _asked(message)))
            case "cancel":
                task_or_none = self._waiting.get(int(message["of"]))
                if task_or_none is not None:
                    task_or_none.cancel()
            case "expect":
                runner = self._services.get(message["service"])
                if runner is not None:
                    runner.expect(str(message["model"]))
            case "status":
                number = int(message["id"])
                self._begin(number, self._status(number))
            case "ping":
                self._answer(message["id"], ok=True)
            case "place":
                runner = self._services.get(message["service"])
                place = runner and runner.place(str(message["request_id"]))
                self._answer(message["id"], ok=bool(place), **(asdict(place) if place else {}))
            case "wake" | "sleep" as op:
                runner = self._services.get(message["service"])
                if runner is not None:
                    runner.wake() if op == "wake" else runner.sleep()
                self._answer(message["id"], ok=runner is not None)
            case "adopt":
                self._adopt()
                self._answer(message["id"], ok=True)
            case other:
                raise ValueError(f"unknown op {other!r}")

    def _begin(self, number: int, answering: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(answering)
        self._waiting[number] = task
        task.add_done_callback(lambda _: self._waiting.pop(number, None))

    async def _status(self, number: int) -> None:
        pids = [pid for runner in self._services.values() for pid in runner.pids()]
        memory = await asyncio.to_thread(states.memory_of, pids)
        services = [asdict(runner.status(memory)) for runner in self._services.values()]
        self._answer(number, ok=True, services=services)

    async def _acquire(self, number: int, service: str, asked: Asked) -> None:
        runner = self._services.get(service)
        if runner is None:
            self._answer(number, ok=False, code="unknown_service", message="", retry_after=0)
            return
        try:
            found = await runner.acquire(asked)
        except Refused as refused:
            self._answer(
                number,
                ok=False,
                code=refused.code,
                message=refused.message,
                retry_after=refused.retry_after,
            )
        else:
            self._answer(number, ok=True, **asdict(found))

    def tell_leaving(self, address: str) -> None:
        """Whoever sends calls there must ask for a predictor from now on."""
        if not self._writer.is_closing():
            self._writer.write(lines.encode({"event": "leaving", "address": address}))

    def _answer(self, number: int, **fields: Any) -> None:
        if not self._writer.is_closing():
            self._writer.write(lines.encode({"id": number, **fields}))


def _asked(message: dict[str, Any]) -> Asked:
    """Raises KeyError or ValueError."""
    texts = {name: str(message[name]) for name in ("request_id", "user", "model")}
    priority = message["priority"]
    if priority not in PRIORITIES:
        raise ValueError(f"priority is {priority!r}")
    return Asked(**texts, priority=priority, early=bool(message.get("early")))


class Connections:
    """All that are open."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()

    async def serve(self, connection: Connection) -> None:
        self._open.add(connection)
        try:
            await connection.serve()
        finally:
            self._open.discard(connection)

    def tell_leaving(self, address: str) -> None:
        for connection in self._open:
            connection.tell_leaving(address)
