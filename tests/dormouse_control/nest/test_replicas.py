"""Several predictors of one service: started when calls pile up, chosen by load, put to sleep."""

import asyncio
import os
import signal
from datetime import UTC, datetime

import pytest

from dormouse.windows import DAYS
from dormouse_control.nest.predictor import HANDED_SECONDS
from dormouse_control.nest.waiting import Asked


def ready(runner):
    return [each for each in runner.status().predictors if each.state == "ready"]


async def ticking(runner, until, condition):
    def ticked():
        runner.tick()
        return condition()

    await until(ticked)


def test_more_calls_than_one_can_work_on_start_another(make_nest, acquire, until):
    left = []

    async def scene():
        runner, zygote = make_nest("crowded", "fine", max_replicas=2, leaving=left.append)
        first = await acquire(runner)
        await ticking(runner, until, lambda: len(ready(runner)) == 2)
        told = list(left)
        others = [await acquire(runner, f"r{n}") for n in range(2)]
        for _ in range(10):
            runner.tick()
        return first, told, others, len(zygote.processes)

    first, told, others, started = asyncio.run(scene())
    assert first.lasting
    assert told == [first.address]  # who goes there unasked has to ask again
    assert all(each.address != first.address for each in others)  # that one has more to do
    assert not any(each.lasting for each in others)
    assert started == 2


def test_calls_on_their_way_count(make_nest, acquire, until):
    """Calls that come at once are spread although no predictor has reported one yet."""

    async def scene():
        runner, _ = make_nest(min_replicas=2, max_replicas=2)
        await ticking(runner, until, lambda: len(ready(runner)) == 2)
        return [(await acquire(runner, f"r{n}")).address for n in range(10)]

    addresses = asyncio.run(scene())
    assert sorted(addresses.count(each) for each in set(addresses)) == [5, 5]


@pytest.mark.parametrize(("mood", "most"), [("two slots", 2), ("crowded", 1)])
def test_no_other_starts_where_one_can_or_must_do(make_nest, acquire, until, mood, most):
    async def scene():
        runner, zygote = make_nest(mood, max_replicas=most)
        await acquire(runner)
        await until(lambda: ready(runner)[0].in_flight == 2)
        for _ in range(8):
            await asyncio.sleep(0.1)
            runner.tick()
        return len(zygote.processes), ready(runner)[0]

    started, predictor = asyncio.run(scene())
    assert started == 1
    assert (predictor.waiting, predictor.slots) == (1, 2 if mood == "two slots" else 1)


def test_the_idle_one_sleeps_and_the_busy_one_stays(make_nest, acquire, until):
    async def scene():
        runner, zygote = make_nest("crowded", "fine", max_replicas=2, idle_seconds=1.0)
        first = await acquire(runner)
        await ticking(runner, until, lambda: len(ready(runner)) == 2)
        zygote.moods = ["no zygote"]  # it stays crowded, and nobody new comes
        await ticking(runner, until, lambda: zygote.processes[1].poll() is not None)
        return first, await acquire(runner, "r2"), zygote.processes[0].poll()

    first, second, running = asyncio.run(scene())
    assert (second.address, second.lasting, running) == (first.address, True, None)


def test_the_fewest_are_there_without_a_call_and_stay(make_nest, until):
    async def scene():
        runner, zygote = make_nest(min_replicas=2, max_replicas=3, idle_seconds=0.01)
        await ticking(runner, until, lambda: len(ready(runner)) == 2)
        await asyncio.sleep(0.1)
        for _ in range(10):
            runner.tick()
        awake = len(ready(runner))
        os.kill(zygote.processes[0].pid, signal.SIGKILL)
        await until(lambda: len(zygote.processes) == 3)
        await ticking(runner, until, lambda: len(ready(runner)) == 2)
        return awake

    assert asyncio.run(scene()) == 2


def test_an_operators_sleep_lasts_until_somebody_calls(make_nest, acquire, until):
    async def scene():
        runner, zygote = make_nest(min_replicas=1)
        await ticking(runner, until, lambda: len(ready(runner)) == 1)
        runner.sleep()
        await until(lambda: runner.status().predictors == ())
        for _ in range(5):
            runner.tick()
            await asyncio.sleep(0.02)
        asleep = runner.status().status, len(zygote.processes)
        await acquire(runner)
        return asleep, runner.status().status

    assert asyncio.run(scene()) == (("asleep", 1), "awake")


def test_an_operator_wakes_without_a_call(make_nest, acquire, until):
    async def scene():
        runner, zygote = make_nest()
        runner.wake()
        runner.wake()
        await until(lambda: runner.status().status == "awake")
        found = await acquire(runner)
        return found.cold_start_ms, len(zygote.processes)

    assert asyncio.run(scene()) == (None, 1)


def test_a_wake_that_nobody_waits_for_is_ended_by_sleep(make_nest, until):
    async def scene():
        runner, zygote = make_nest("slow")
        runner.wake()
        await until(lambda: runner.status().stage == "loading 50%")
        runner.sleep()
        await until(lambda: zygote.processes[0].poll() is not None)
        await until(lambda: runner.status().predictors == ())
        return runner.status().status, len(zygote.processes)

    assert asyncio.run(scene()) == ("asleep", 1)


def test_a_wake_that_somebody_waits_for_goes_on(make_nest, acquire, until):
    async def scene():
        runner, zygote = make_nest("slow")
        call = asyncio.ensure_future(acquire(runner))
        await until(lambda: runner.status().stage == "loading 50%")
        runner.sleep()
        await call
        return len(zygote.processes)

    assert asyncio.run(scene()) == 1


def test_a_wake_that_a_call_waits_for_where_it_loads_goes_on(make_nest, until):
    async def scene():
        runner, zygote = make_nest("listens", min_replicas=1)
        call = await runner.acquire(Asked("r1", "ada", "m", 1, early=True))
        await until(lambda: runner.status().predictors[0].in_flight == 1)
        await asyncio.sleep(HANDED_SECONDS)
        runner.sleep()
        await until(lambda: runner.status().status != "waking")
        return call, runner.status(), len(zygote.processes)

    call, status, started = asyncio.run(scene())
    assert (status.status, started) == ("awake", 1)
    assert call.address == f"127.0.0.1:{status.predictors[0].port}"


def test_sleep_is_not_lost_on_a_predictor_that_is_not_there_yet(make_shared, make_nest, until):
    async def scene():
        shared = make_shared()
        placing = asyncio.Event()
        decide = shared.memory._decide

        async def decide_late(wish):
            placing.set()
            await asyncio.sleep(0.1)
            return await decide(wish)

        shared.memory._decide = decide_late
        runner, zygote = make_nest(shared=shared, min_replicas=1)
        runner.wake()
        await asyncio.wait_for(placing.wait(), 10)
        runner.sleep()
        await until(lambda: zygote.processes and not runner.status().predictors)
        for _ in range(5):
            runner.tick()
            await asyncio.sleep(0.02)
        return runner.status().status, len(zygote.processes), zygote.processes[0].wait()

    assert asyncio.run(scene()) == ("asleep", 1, 0)


@pytest.mark.parametrize(("days", "status"), [(0, "awake"), (3, "asleep")])
def test_inside_a_window_one_is_kept_warm(make_nest, until, days, status):
    """Neither today nor a neighbour of it is in a window that begins in three days."""
    today = datetime.now(UTC).weekday()
    around = [DAYS[(today + days + step) % 7] for step in (-1, 0, 1)]
    window = f"{','.join(around)} 00:00-24:00 UTC"

    async def scene():
        runner, zygote = make_nest(keep_warm=(window,), idle_seconds=0.01)
        runner.tick()
        await until(lambda: runner.status().status == status)
        await asyncio.sleep(0.1)
        for _ in range(5):
            runner.tick()
        return runner.status().status, len(zygote.processes)

    assert asyncio.run(scene()) == (status, 1 if status == "awake" else 0)
