"""Calls that wait for a service: their order, their bound, whose turn it is, who hangs up."""

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from dormouse_control.nest.waiting import Refused


async def settled(calls):
    """What became of each: the answer, or the refusal."""
    return await asyncio.gather(*calls, return_exceptions=True)


def test_of_500_calls_at_zero_replicas_none_is_lost(make_nest, acquire):
    """As many as may wait are answered; the others are told when to come back."""

    async def scene():
        runner, zygote = make_nest("slow", queue_length=100)
        calls = [acquire(runner, f"r{i}", user=f"u{i % 50}") for i in range(500)]
        found = await settled(calls)
        return found, zygote, runner.status().queue

    found, zygote, left = asyncio.run(scene())
    refused = [each for each in found if isinstance(each, Refused)]
    assert (len(found), len(refused), left) == (500, 400, 0)
    assert {(each.code, each.retry_after > 0) for each in refused} == {("queue_full", True)}
    answered = Counter(i % 50 for i, each in enumerate(found) if not isinstance(each, Refused))
    assert set(answered.values()) == {2}  # room is shared by users
    assert len(zygote.processes) == 1


def test_who_waits_for_most_gives_way(make_nest, acquire, until):
    async def scene():
        runner, _ = make_nest("slow", queue_length=4)
        ada = [asyncio.ensure_future(acquire(runner, f"a{i}")) for i in range(4)]
        await until(lambda: runner.status().queue == 4)
        bob = asyncio.ensure_future(acquire(runner, "b", user="bob"))
        return await settled(ada), await bob

    ada, bob = asyncio.run(scene())
    assert bob.address
    assert [isinstance(each, Refused) for each in ada] == [False, False, False, True]
    assert (ada[3].code, ada[3].retry_after > 0) == ("queue_full", True)


def test_a_new_plan_changes_the_bound_and_how_fast_calls_age(make_nest, acquire):
    async def scene():
        runner, _ = make_nest("slow", queue_length=1)
        plan = runner._plan
        runner.replan(replace(plan, queue_length=3, ageing_seconds=0.05))
        answered = []

        async def ask(request_id, priority):
            await acquire(runner, request_id, priority=priority)
            answered.append(request_id)

        later = asyncio.ensure_future(ask("later", 2))
        await asyncio.sleep(0.15)  # it is as urgent as any by now, and came first
        urgent = asyncio.ensure_future(ask("urgent", 0))
        found = await settled([later, urgent])
        runner.replan(replace(plan, queue_length=0))
        runner.sleep()
        with pytest.raises(Refused, match="0 calls already wait"):
            await acquire(runner, "r3")
        return found, answered

    found, answered = asyncio.run(scene())
    assert found == [None, None]
    assert answered == ["later", "urgent"]


def test_the_more_urgent_first_and_then_what_is_loaded(make_nest, acquire, until):
    async def scene():
        runner, _ = make_nest("slow")
        answered = []

        async def ask(request_id, model, priority):
            await acquire(runner, request_id, model=model, priority=priority)
            answered.append(request_id)

        # The first decides what is loaded.
        asked = [("a", "B", 2), ("b", "A", 1), ("c", "A", 0), ("d", "B", 1), ("e", "A", 2)]
        calls = [asyncio.ensure_future(ask(*each)) for each in asked]
        await until(lambda: runner.status().queue == 5)
        places = {each[0]: runner.place(each[0]).ahead for each in asked}
        await settled(calls)
        return answered, places

    answered, places = asyncio.run(scene())
    assert answered == ["c", "d", "b", "a", "e"]
    # Before anything is loaded only priorities and arrivals count.
    assert places == {"c": 0, "b": 1, "d": 2, "a": 3, "e": 4}


def test_a_place_in_the_queue_says_how_long_it_may_take(make_nest, acquire, until, cold_starts):
    cold_starts.learn("chat", "m", wake_ms=60_000, load_ms=50_000)

    async def scene():
        runner, zygote = make_nest("slow", queue_length=2)
        calls = [asyncio.ensure_future(acquire(runner, f"r{i}")) for i in range(2)]
        await until(lambda: runner.status().queue == 2)
        place, nowhere, status = runner.place("r1"), runner.place("r9"), runner.status()
        [refused] = await settled([acquire(runner, "r3")])
        await settled(calls)
        return place, nowhere, status, refused, runner.status(), zygote.configs[0]

    place, nowhere, status, refused, after, config = asyncio.run(scene())
    assert (place.ahead, nowhere) == (1, None)
    for expected in (place.expected_wait_ms, status.expected_wait_ms, status.eta_ms):
        assert 30_000 < expected <= 60_000
    assert 30 < refused.retry_after <= 60
    assert 0 <= status.oldest_wait_ms < 30_000
    assert (after.eta_ms, after.oldest_wait_ms, after.expected_wait_ms) == (None, None, None)
    assert config["expected_load_ms"] == 50_000


def test_what_waking_takes_is_learned(make_nest, acquire, until, cold_starts):
    async def scene():
        runner, _ = make_nest("slow")
        await acquire(runner)
        await until(lambda: cold_starts.wake_ms("chat", "m"))

    asyncio.run(scene())
    assert cold_starts.wake_ms("chat", "m") >= 500
    assert cold_starts.load_ms("chat", "m") == 1


def test_the_same_request_asked_for_twice_is_answered_twice(make_nest, acquire):
    async def scene():
        runner, _ = make_nest("slow")
        return await settled([acquire(runner, "r1"), acquire(runner, "r1")])

    one, two = asyncio.run(scene())
    assert one.address == two.address


def test_half_of_them_hang_up_while_it_wakes(make_nest, acquire, until):
    async def scene():
        runner, zygote = make_nest("slow", queue_length=100)
        calls = [asyncio.ensure_future(acquire(runner, f"r{i}")) for i in range(60)]
        await until(lambda: runner.status().queue == 60)
        for call in calls[::2]:
            call.cancel()
        await until(lambda: runner.status().queue == 30)
        return await settled(calls), runner.status(), zygote

    found, status, zygote = asyncio.run(scene())
    assert [isinstance(each, asyncio.CancelledError) for each in found] == [True, False] * 30
    assert (status.queue, status.status, len(zygote.processes)) == (0, "awake", 1)


def test_several_services_wake_at_once(make_nest, acquire):
    async def scene():
        runners = [make_nest("slow", service=name)[0] for name in ("a", "b", "c", "d")]
        return await settled([acquire(each, f"r{n}") for n, each in enumerate(runners)])

    found = asyncio.run(scene())
    assert len({each.address for each in found}) == 4


@pytest.mark.parametrize("seed", range(3))
def test_kills_hang_ups_and_sleeps_at_random_lose_nobody(make_nest, acquire, seed):
    """Every call is answered, or refused for a reason; in the end no process is left."""
    chance = random.Random(seed)  # noqa: S311  the same again, not secret

    async def scene():
        runner, zygote = make_nest("fine", queue_length=50, max_replicas=2, idle_seconds=0.05)
        calls, hung_up = [], set()
        for step in range(150):
            match chance.randrange(8):
                case 0:
                    runner.sleep()
                case 1:
                    runner.tick()
                case 2 if zygote.processes:
                    chance.choice(zygote.processes[-2:]).kill()
                case 3 if calls:
                    hung_up.add(number := chance.randrange(len(calls)))
                    calls[number].cancel()
                case 4:
                    runner.wake()
                case _:
                    user = f"u{chance.randrange(3)}"
                    calls.append(asyncio.ensure_future(acquire(runner, f"r{step}", user=user)))
            await asyncio.sleep(chance.choice([0, 0, 0.01, 0.05]))
        async with asyncio.timeout(60):
            found = await settled(calls)
        await runner.close(10)
        return found, hung_up, zygote, runner.status()

    found, hung_up, zygote, status = asyncio.run(scene())
    lost = [
        each
        for number, each in enumerate(found)
        if isinstance(each, BaseException) and number not in hung_up
    ]
    assert {each.code for each in lost} <= {"waking_failed", "model_quarantined", "queue_full"}
    assert len(lost) < len(found) / 2
    assert (status.queue, status.predictors) == (0, ())
    assert all(process.wait(10) is not None for process in zygote.processes)


def test_nobody_is_held_for_longer_than_may_be_and_the_wake_goes_on(make_nest, acquire, until):
    async def scene():
        runner, zygote = make_nest("slow", hold_seconds=0.1)
        found = await settled([acquire(runner, "r1"), acquire(runner, "r2", priority=0)])
        waiting = runner.status().queue
        await until(lambda: runner.status().status == "awake")
        return found, waiting, await acquire(runner, "r3"), len(zygote.processes)

    found, waiting, answered, started = asyncio.run(scene())
    assert [(each.code, each.retry_after > 0) for each in found] == [("still_waking", True)] * 2
    assert waiting == 0
    assert (answered.cold_start_ms, started) == (None, 1)
