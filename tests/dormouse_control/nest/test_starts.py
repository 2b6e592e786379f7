"""No more predictors start at the same time than there are cores for, unless one takes long."""

import asyncio

import pytest

from dormouse_control.nest.starts import Starts


class Work:
    """Takes turns, and notes who has one."""

    def __init__(self, at_once: int, patience: float = 60.0) -> None:
        self.starts = Starts(at_once, patience=patience)
        self.begun: list[int] = []
        self.most = self.now = 0

    async def do(self, number: int, end: asyncio.Event | None = None) -> None:
        async with self.starts.turn():
            self.begun.append(number)
            self.now += 1
            self.most = max(self.most, self.now)
            await (end.wait() if end is not None else asyncio.sleep(0.001))
            self.now -= 1


def test_so_many_at_a_time_and_as_they_came() -> None:
    async def scene() -> Work:
        work = Work(2)
        await asyncio.gather(*(work.do(number) for number in range(9)))
        return work

    work = asyncio.run(scene())
    assert work.most == 2
    assert work.begun == list(range(9))


def test_nobody_waits_for_one_that_takes_long() -> None:
    async def scene() -> Work:
        work, end = Work(1, patience=0.05), asyncio.Event()
        long = asyncio.create_task(work.do(0, end))
        await asyncio.wait_for(asyncio.gather(*(work.do(number) for number in (1, 2))), 5)
        assert work.most == 2
        end.set()
        await long
        # Its turn was given on already: it must not be given on twice.
        work.most = 0
        await asyncio.gather(*(work.do(number) for number in (3, 4, 5)))
        return work

    assert asyncio.run(scene()).most == 1


@pytest.mark.parametrize("has_a_turn", [True, False])
def test_who_is_cancelled_holds_nobody_up(has_a_turn: bool) -> None:
    async def scene() -> Work:
        work, end = Work(1), asyncio.Event()
        first = asyncio.create_task(work.do(0, end))
        second = asyncio.create_task(work.do(1, end))
        await asyncio.sleep(0.01)
        (first if has_a_turn else second).cancel()
        end.set()
        await asyncio.wait([first, second])
        await asyncio.wait_for(work.do(2), 5)
        return work

    assert asyncio.run(scene()).begun[-1] == 2


def test_calm_is_when_nobody_starts() -> None:
    async def scene() -> None:
        work, end = Work(1), asyncio.Event()
        await asyncio.wait_for(work.starts.calm(60), 1)
        tasks = [asyncio.create_task(work.do(number, end)) for number in range(2)]
        calm = asyncio.create_task(work.starts.calm(60))
        await asyncio.sleep(0.01)
        assert not calm.done()
        tasks[1].cancel()  # who waits counts too, until it does not
        end.set()
        await asyncio.wait_for(calm, 5)
        await asyncio.wait(tasks)

    asyncio.run(scene())


def test_calm_is_not_waited_for_for_ever() -> None:
    async def scene() -> None:
        starts = Starts(1)
        async with starts.turn():
            await asyncio.wait_for(starts.calm(0.01), 5)

    asyncio.run(scene())
