"""What the control plane does beside its API goes on after a failure, and ends when it is told."""

import asyncio
import threading

from dormouse_control.background import Background, repeat


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
