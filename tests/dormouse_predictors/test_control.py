import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dormouse.catalog import read_catalog
from dormouse_predictors import control as control_module
from dormouse_predictors.control import Control
from dormouse_predictors.errors import CallError
from dormouse_predictors.placing import Placement

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
        await control.listen(lambda _: None)
        await control.close()

    asyncio.run(main())


# ---- places --------------------------------------------------------------------------------------

CHAT = read_catalog(Path(__file__).parents[2] / "services").services["chat"]


def ask(control: Control, model: str = "dormouse-chat") -> "asyncio.Task[Placement]":
    return asyncio.create_task(control.place(CHAT.models[model], engine="llama"))


async def heard(control: Control, nests: socket.socket, count: int) -> list[dict[str, Any]]:
    """What the nest is asked, once it was asked so often."""
    found: list[dict[str, Any]] = []
    nests.setblocking(False)
    async with asyncio.timeout(10):
        while len(found) < count:
            await asyncio.sleep(0.01)
            await control.flush()
            with contextlib.suppress(BlockingIOError):
                found += lines(nests)
    return found


def test_the_nest_is_asked_for_a_place() -> None:
    async def script(control: Control, nests: socket.socket) -> Any:
        listening = asyncio.create_task(control.listen(lambda _: None))
        asking = ask(control)
        asked = await heard(control, nests, 1)
        nests.send(b'{"op":"placed","number":1,"gpu":2,"gpu_layers":-1}\n')
        found = await asyncio.wait_for(asking, 10)
        listening.cancel()
        return asked, found

    asked, found = run(script)
    assert asked == [{"event": "place", "number": 1, "model": "dormouse-chat"}]
    assert found == Placement(2, -1)


def test_answers_find_who_asked_and_nonsense_finds_nobody() -> None:
    async def script(control: Control, nests: socket.socket) -> Any:
        listening = asyncio.create_task(control.listen(lambda _: None))
        first, second = ask(control), ask(control, "mistral-7b-instruct")
        numbers = {each["model"]: each["number"] for each in await heard(control, nests, 2)}
        assert len(set(numbers.values())) == 2
        placing = {"number": numbers["mistral-7b-instruct"], "gpu": 1, "gpu_layers": 20}
        refusing = {"number": numbers["dormouse-chat"], "message": "Too large.", "retry_after": 5}
        told = [
            {"op": "placed", "number": 77, "gpu": 0, "gpu_layers": 1},
            {"op": "placed"},
            {"op": "refused", "number": 78, "message": "no"},
            {"op": "placed", **placing},
            {"op": "placed", **placing},  # once is enough
            {"op": "refused", **refusing},
        ]
        nests.send(b"".join(json.dumps(each).encode() + b"\n" for each in told))
        placed = await asyncio.wait_for(second, 10)
        with pytest.raises(CallError) as caught:
            await asyncio.wait_for(first, 10)
        listening.cancel()
        return placed, caught.value

    placed, refused = run(script)
    assert placed == Placement(1, 20)
    assert (refused.status, refused.code) == (503, "insufficient_memory")
    assert (refused.message, refused.retry_after) == ("Too large.", 5)


def test_without_a_nest_it_decides_alone() -> None:
    async def main() -> Placement:
        return await ask(Control())

    assert asyncio.run(main()) == Placement(None, 0, 8)


def test_if_the_nest_goes_it_decides_alone() -> None:
    async def script(control: Control, nests: socket.socket) -> Any:
        listening = asyncio.create_task(control.listen(lambda _: None))
        before = ask(control)
        await heard(control, nests, 1)
        nests.close()
        await asyncio.wait_for(listening, 10)
        return await asyncio.wait_for(asyncio.gather(before, ask(control)), 10)

    assert run(script) == [Placement(None, 0, 8)] * 2


def test_a_nest_that_says_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control_module, "PLACE_SECONDS", 0.1)

    async def script(control: Control, nests: socket.socket) -> Any:
        listening = asyncio.create_task(control.listen(lambda _: None))
        with pytest.raises(CallError) as caught:
            await asyncio.wait_for(ask(control), 10)
        nests.send(b'{"op":"placed","number":1,"gpu":null,"gpu_layers":0}\n')  # too late
        second = ask(control)
        await heard(control, nests, 2)
        nests.send(b'{"op":"placed","number":2,"gpu":null,"gpu_layers":0}\n')
        found = await asyncio.wait_for(second, 10)
        listening.cancel()
        return caught.value, found

    refused, found = run(script)
    assert (refused.status, refused.code) == (503, "unavailable")
    assert found == Placement(None, 0)
