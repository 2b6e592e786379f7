"""What is done for those that are still there after a while."""

import asyncio

from dormouse_predictors.later import Later


def test_only_who_is_still_there_is_acted_upon_in_order_and_once() -> None:
    async def script() -> None:
        done: list[str] = []
        later: Later[str] = Later(0.05, done.append)
        for name in ("a", "gone", "b"):
            later.add(name)
        later.discard("gone")
        later.discard("never there")
        await asyncio.sleep(0.02)
        later.add("c")
        while len(done) < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert done == ["a", "b", "c"]

    asyncio.run(asyncio.wait_for(script(), 10))


def test_nobody_is_acted_upon_before_the_time() -> None:
    async def script() -> None:
        loop = asyncio.get_running_loop()
        at: list[float] = []
        later: Later[int] = Later(0.1, lambda _: at.append(loop.time()))
        began = []
        for number in range(5):
            began.append(loop.time())
            later.add(number)
            await asyncio.sleep(0.03)
        while len(at) < 5:
            await asyncio.sleep(0.01)
        # A clock of milliseconds may round.
        assert all(acted - added >= 0.098 for added, acted in zip(began, at, strict=True))

    asyncio.run(asyncio.wait_for(script(), 10))


def test_whoever_is_acted_upon_may_come_again() -> None:
    async def script() -> None:
        done: list[str] = []

        def act(name: str) -> None:
            done.append(name)
            if len(done) < 3:
                later.add(name)

        later: Later[str] = Later(0.01, act)
        later.add("a")
        while len(done) < 3:
            await asyncio.sleep(0.01)
        assert done == ["a"] * 3

    asyncio.run(asyncio.wait_for(script(), 10))
