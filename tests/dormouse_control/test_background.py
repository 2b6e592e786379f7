"""What the control plane does beside its API goes on after a failure, and ends when it is told."""

import asyncio
import threading

import pytest

from dormouse_control.background import Background, repeat, to_its_end


def test_a_failure_does_not_end_the_work() -> None:
    steps: list[int] = []
    enough = threading.Event()

    async def step() -> None:
        steps.append(len(steps))
        if len(steps) == 3:
            enough.set()
        raise RuntimeError("a database that is away")

    async def work(stop: asyncio.Event) -> None:
        await repeat(stop, step, seconds=0.01)

    background = Background([work], name="test")
    background.start()
    assert enough.wait(10)
    background.stop(10)

    done = len(steps)
    assert done >= 3
    assert "test" not in {each.name for each in threading.enumerate()}


def test_all_works_end_together() -> None:
    ended = []

    def work(name: str) -> object:
        async def run(stop: asyncio.Event) -> None:
            await stop.wait()
            ended.append(name)

        return run

    background = Background([work("a"), work("b")], name="test")  # type: ignore[list-item]
    background.start()
    background.stop(10)
    assert sorted(ended) == ["a", "b"]


def test_a_step_in_a_thread_is_awaited_to_its_end_however_often_it_is_cancelled() -> None:
    async def cancelled_twice() -> None:
        began, go_on, done = threading.Event(), threading.Event(), threading.Event()

        def step() -> None:
            began.set()
            assert go_on.wait(20)
            done.set()

        task = asyncio.create_task(to_its_end(step))
        await asyncio.to_thread(began.wait, 20)
        for _ in range(2):
            task.cancel()
            await asyncio.wait([task], timeout=0.2)
            assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done.is_set()

    asyncio.run(cancelled_twice())


def test_what_a_step_in_a_thread_gives_or_raises_is_the_callers() -> None:
    assert asyncio.run(to_its_end(int, "7")) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(to_its_end(int, "x"))
