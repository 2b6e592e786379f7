"""Services that have not all room at once, with the nest's own wiring: who waits, who ends."""

import asyncio

import pytest
from structlog.testing import capture_logs

from dormouse_control.nest import service
from dormouse_control.nest.waiting import Refused


def ready(runner):
    return [each for each in runner.status().predictors if each.state == "ready"]


def age(runner, seconds):
    """As if nothing had happened for so long."""
    for each in runner._predictors.alive():
        each.last_active -= seconds


async def ticking(runners, until, condition):
    def ticked():
        for runner in runners:
            runner.tick()
        return condition()

    await until(ticked)


async def refused(call):
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


def test_who_wakes_while_another_does_may_come_again(small_machine, acquire):
    async def scene():
        machine = small_machine(1000)
        first, second = machine.offer("a", "slow", mb=600), machine.offer("b", mb=600)
        call = asyncio.ensure_future(acquire(first))
        await asyncio.sleep(0)
        return await refused(acquire(second)), await call

    error, found = asyncio.run(scene())
    assert (error.code, error.retry_after) == ("insufficient_memory", 5)
    assert found.address


def test_the_fewest_of_a_service_stay_and_others_give_way(small_machine, acquire, until):
    """Both of them are idle, and together they would be enough."""

    async def scene():
        machine = small_machine(1000)
        first = machine.offer("a", "two slots", mb=300, min_replicas=2, max_replicas=2)
        await ticking([first], until, lambda: len(ready(first)) == 2)
        await until(lambda: all(each.in_flight == 2 for each in ready(first)))
        machine.offer("a", mb=300, min_replicas=1, max_replicas=2)
        for each in first._predictors.ready():
            each.in_flight = 0
        age(first, 20)
        newest = first._predictors.hand("m")
        assert newest is not None
        age(first, 10)
        large = machine.offer("large", mb=750)
        error = await refused(acquire(large))
        kept = [each.pid for each in ready(first)]
        medium = machine.offer("medium", mb=500)
        found = await acquire(medium)
        return error, found, len(kept), [each.pid for each in ready(first)], newest.pid

    error, found, before, after, newest = asyncio.run(scene())
    assert (error.code, before) == ("insufficient_memory", 2)
    assert found.address
    assert after == [newest]


@pytest.fixture
def attempts():
    with capture_logs() as logs:
        yield lambda: sum(each["event"] == "no_place" for each in logs)


def test_a_predictor_that_nobody_waits_for_is_tried_again_after_a_while(
    small_machine, acquire, until, attempts, monkeypatch
):
    async def scene():
        machine = small_machine(1000)
        runner = machine.offer("a", mb=2000, min_replicas=1)
        await ticking([runner], until, attempts)
        for _ in range(20):
            await asyncio.sleep(0.02)
            runner.tick()
        by_itself = attempts()
        await refused(acquire(runner))  # a call asks at once
        for_a_call = attempts()
        runner.wake()
        await until(lambda: attempts() > for_a_call)
        monkeypatch.setattr(service, "NO_PLACE_SECONDS", 0.1)
        runner.wake()
        await until(lambda: attempts() == for_a_call + 2)
        machine.has(9000, 9000)
        await ticking([runner], until, lambda: ready(runner))
        return by_itself, for_a_call

    assert asyncio.run(scene()) == (1, 2)


def test_one_replica_more_that_has_no_place_is_tried_again_after_a_while(
    small_machine, acquire, until, attempts
):
    async def scene():
        machine = small_machine(1000)
        runner = machine.offer("a", "crowded", mb=600, max_replicas=3)
        await acquire(runner)
        await ticking([runner], until, attempts)
        for _ in range(20):
            await asyncio.sleep(0.02)
            runner.tick()
        return attempts(), len(ready(runner))

    assert asyncio.run(scene()) == (1, 1)


def test_one_replica_more_ends_no_model_of_others(small_machine, acquire, until, attempts):
    async def scene():
        machine = small_machine(2000)
        other = machine.offer("other", mb=600)
        await acquire(other)
        age(other, 20)
        runner = machine.offer("a", "crowded", mb=600, max_replicas=3)
        await acquire(runner)
        await ticking([runner], until, lambda: len(ready(runner)) == 2 or attempts())
        enough = len(ready(runner))
        await ticking([runner], until, attempts)
        kept = other.status().status
        for each in runner._predictors.alive():
            each.kill()
        await until(lambda: not runner.status().predictors)
        machine.has(900, 900)
        found = await acquire(runner, "r2")  # a call that waits is another matter
        return enough, kept, found, other.status().status

    enough, kept, found, status = asyncio.run(scene())
    assert (enough, kept) == (2, "awake")
    assert found.address
    assert status == "asleep"


def test_a_model_that_its_service_has_no_memory_for_is_refused_with_the_limit(
    small_machine, acquire
):
    async def scene():
        machine = small_machine(9000, a=1024)
        limited, free = machine.offer("a", mb=2000), machine.offer("b", mb=2000)
        error = await refused(acquire(limited))
        await acquire(free)
        limited = machine.offer("a", mb=1024 + 256 - 64)
        return error, await acquire(limited)

    error, *_ = asyncio.run(scene())
    assert (error.code, error.retry_after) == ("insufficient_memory", None)
    assert "A process of its service may take 1,280 MiB of main memory." in error.message


@pytest.mark.parametrize(
    ("mood", "loaded", "free"), [("swap fails", (), True), ("swap fetch fails", ("m",), False)]
)
def test_a_swap_that_fails_leaves_no_model_and_sets_nothing_aside(
    small_machine, acquire, until, mood, loaded, free
):
    async def scene():
        machine = small_machine(1000)
        runner, other = machine.offer("a", mood, mb=600), machine.offer("b", mb=600)
        machine.also("a", "other", mb=900)
        await acquire(runner)
        [predictor] = runner._predictors.ready()
        await until(lambda: predictor.stage == "ready" and (predictor.model == "m") != free)
        await asyncio.sleep(0.1)
        predictor.in_flight = 1  # it is not to make room
        seen = runner.status().models_loaded
        if free:
            await acquire(other)
        else:
            await refused(acquire(other))
        await acquire(runner, "r2", model="other")  # it goes there all the same
        return seen

    assert asyncio.run(scene()) == loaded
