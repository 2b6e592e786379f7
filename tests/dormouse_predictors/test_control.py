import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from dormouse_predictors.control import Control

Script = Callable[[Control, socket.socket], Awaitable[Any]]


def run(script: Script) -> Any:
    async def main() -> Any:
        ours, nests = socket.socketpair()
        nests.settimeout(2)
        control = Control()
        await control.open(ours)
        with nests:
            found = await script(control, nests)
            await control.close()
            return found

    return asyncio.run(main())


def lines(nests: socket.socket) -> list[dict[str, Any]]:
    return [json.loads(line) for line in nests.recv(65536).splitlines()]


def test_events_are_lines() -> None:
    async def script(control: Control, nests: socket.socket) -> Any:
        control.send("stage", stage="loading", percent=None)
        await control.flush()
        return lines(nests)

    assert run(script) == [{"event": "stage", "stage": "loading", "percent": None}]


def test_every_turn_between_idle_and_busy_is_told_and_little_else() -> None:
    async def script(control: Control, nests: socket.socket) -> Any:
        for in_flight in [1, 2, 3, 4, 3, 2, 1, 0, 1, 0]:
            control.load(in_flight)
        await control.flush()
        return [line["in_flight"] for line in lines(nests)]

    assert run(script) == [1, 0, 1, 0]


def test_changes_are_told_after_a_while() -> None:
    async def script(control: Control, nests: socket.socket) -> Any:
        control.load(1)
        await asyncio.sleep(0.11)
        control.load(2)
        await control.flush()
        return [line["in_flight"] for line in lines(nests)]

    assert run(script) == [1, 2]


def test_a_drain_is_heard_and_nonsense_is_not() -> None:
    async def script(control: Control, nests: socket.socket) -> Any:
        heard: list[int] = []
        nests.sendall(
            b'nonsense\n{"op":"dance"}\n[]\n{"op":"drain","grace_ms":7}\n{"op":"drain"}\n'
        )
        listening = asyncio.create_task(control.listen(heard.append))
        await asyncio.sleep(0.05)
        listening.cancel()
        return heard

    assert run(script) == [7, 500]


def test_a_nest_that_is_gone_means_drain() -> None:
    async def script(control: Control, nests: socket.socket) -> Any:
        heard: list[int] = []
        nests.close()
        await asyncio.wait_for(control.listen(heard.append), 2)
        return heard

    assert run(script) == [500]


def test_without_a_nest_events_go_nowhere() -> None:
    async def main() -> None:
        control = Control()
        control.send("ready", port=1)
        control.load(1)
        await control.listen(lambda _: None)
        await control.close()

    asyncio.run(main())
