"""What the nest believes of our load: the newest numbers, whatever came how quickly."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from dormouse_predictors.loads import Loads

Script = Callable[["Nest"], Awaitable[None]]


class Nest:
    """Believes what it was told last, as `Control` would send it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.heard: list[tuple[int, int]] = []
        control: Any = self
        self.loads = Loads(control, lambda: self.waiting)

    def send(self, event: str, *, in_flight: int, waiting: int) -> None:
        assert event == "load"
        self.heard.append((in_flight, waiting))

    async def believes(self, in_flight: int, waiting: int) -> None:
        async with asyncio.timeout(10):
            while self.heard[-1] != (in_flight, waiting):
                await asyncio.sleep(0.01)


def run(script: Script) -> None:
    async def main() -> None:
        await script(Nest())

    asyncio.run(main())


def test_every_turn_between_idle_and_busy_is_told_and_little_else() -> None:
    async def script(nest: Nest) -> None:
        for in_flight in [1, 2, 3, 4, 3, 2, 1, 0, 1, 0]:
            nest.loads.note(in_flight)
        assert nest.heard == [(1, 0), (0, 0), (1, 0), (0, 0)]

    run(script)


def test_the_last_of_many_changes_is_told() -> None:
    async def script(nest: Nest) -> None:
        for in_flight in range(1, 22):
            nest.loads.note(in_flight)
        await nest.believes(21, 0)
        for in_flight in range(20, 0, -1):
            nest.loads.note(in_flight)
        await nest.believes(1, 0)
        assert len(nest.heard) <= 4

    run(script)


def test_how_many_wait_is_told_also_when_no_call_comes_or_ends() -> None:
    async def script(nest: Nest) -> None:
        nest.waiting = 12
        nest.loads.note(1)
        nest.loads.note(20)
        await nest.believes(20, 12)
        nest.waiting = 11
        await nest.believes(20, 11)
        nest.waiting = 0
        await nest.believes(20, 0)

    run(script)


def test_who_is_told_everything_is_left_alone() -> None:
    async def script(nest: Nest) -> None:
        nest.loads.note(1)
        await asyncio.sleep(0.3)
        assert nest.heard == [(1, 0)]
        nest.loads.note(2)  # at once: it is long since the last
        assert nest.heard == [(1, 0), (2, 0)]

    run(script)
