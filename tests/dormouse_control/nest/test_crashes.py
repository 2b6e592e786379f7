"""Predictors that die at every stage: who is answered by the next, who is refused by name."""

import asyncio

import pytest

from dormouse_control.nest.waiting import Refused


async def refused(call):
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


def test_a_model_that_kills_its_predictors_is_refused_and_others_go_on(make_nest, acquire):
    async def scene():
        runner, zygote = make_nest("fine", "bad: crash")
        first = await refused(acquire(runner, "r1", model="bad"))
        quarantined = runner.status().quarantined
        good = await acquire(runner, "r2", model="good")
        second = await refused(acquire(runner, "r3", model="bad"))
        return first, quarantined, good, second, [each["model"] for each in zygote.configs]

    first, quarantined, good, second, started = asyncio.run(scene())
    assert (first.code, second.code) == ("model_quarantined", "model_quarantined")
    assert "bad" in first.message
    assert 30 < second.retry_after <= 60
    assert quarantined == ("bad",)
    assert good.cold_start_ms is not None
    assert started == ["bad", "bad", "bad", "good"]


def test_a_zygote_that_ends_before_it_forks_is_no_fault_of_the_model(make_nest, acquire):
    async def scene():
        runner, _ = make_nest("zygote ends")
        error = await refused(acquire(runner))
        return error, runner.status().quarantined

    error, quarantined = asyncio.run(scene())
    assert (error.code, quarantined) == ("waking_failed", ())
    assert "its zygote ended before it was forked" in error.message


def test_calls_for_other_models_wait_it_out(make_nest, acquire):
    async def scene():
        runner, _ = make_nest("fine", "bad: crash")
        bad, good = await asyncio.gather(
            acquire(runner, "r1", model="bad", priority=0),
            acquire(runner, "r2", model="good", priority=2),
            return_exceptions=True,
        )
        return bad, good

    bad, good = asyncio.run(scene())
    assert (bad.code, bool(good.address)) == ("model_quarantined", True)


def test_an_operators_wake_ends_a_quarantine(make_nest, acquire):
    async def scene():
        runner, zygote = make_nest("crash")
        await refused(acquire(runner))
        zygote.moods = ["fine"]
        blocked = await refused(acquire(runner, "r2"))
        runner.wake()
        return blocked.code, await acquire(runner, "r3"), runner.status()

    code, found, status = asyncio.run(scene())
    assert code == "model_quarantined"
    assert found.address
    assert (status.status, status.quarantined) == ("awake", ())


def test_an_operators_wake_does_not_try_for_ever(make_nest, until):
    async def scene():
        runner, zygote = make_nest("crash")
        runner.wake()
        await until(lambda: runner.status().quarantined == ("m",))
        for _ in range(20):
            runner.tick()
            await asyncio.sleep(0.02)
        return len(zygote.processes), runner.status().status

    assert asyncio.run(scene()) == (3, "failed")


def test_no_call_waits_for_a_fourth_wake(make_nest, acquire):
    """Whatever broke: this call may be it, and a new one is tried again."""

    async def scene():
        runner, _ = make_nest("no zygote", "no zygote", "crash", "fine")
        first = await refused(acquire(runner, "r1"))
        return first, await acquire(runner, "r2")

    first, second = asyncio.run(scene())
    assert (first.code, "r1" in first.message) == ("waking_failed", True)
    assert second.address


def test_a_model_whose_swap_kills_an_awake_predictor_is_quarantined_too(make_nest, acquire, until):
    async def scene():
        runner, zygote = make_nest("swap crash", "swap crash", "swap crash", "fine")
        await acquire(runner, "r0")
        for number in range(1, 4):
            await until(
                lambda n=number: len(zygote.processes) > n or not runner.status().predictors
            )
            await acquire(runner, f"r{number}")
        await until(lambda: runner.status().quarantined == ("other",))
        other = await refused(acquire(runner, "r4", model="other"))
        found = await acquire(runner, "r5")
        return other.code, found, len(zygote.processes)

    code, found, started = asyncio.run(scene())
    assert (code, started) == ("model_quarantined", 4)
    assert found.address


def test_one_that_dies_as_soon_as_it_is_ready_is_not_started_all_the_time(make_nest):
    async def scene():
        runner, zygote = make_nest("short", min_replicas=1)
        end = asyncio.get_running_loop().time() + 1.5
        while asyncio.get_running_loop().time() < end:
            runner.tick()
            await asyncio.sleep(0.01)
        started = len(zygote.processes)
        await runner.close(5)
        return started

    # Without pauses a few dozen; with them after 0.1, 0.2, 0.4 and 0.8 s.
    assert 2 <= asyncio.run(scene()) <= 5


def test_a_model_that_another_predictor_has_is_not_refused(make_nest, acquire, until):
    """Only the second replica cannot be started: the first goes on."""

    async def scene():
        runner, zygote = make_nest("crowded", "crash", max_replicas=2)
        await acquire(runner)

        def quarantined():
            runner.tick()
            return runner.status().quarantined == ("m",)

        await until(quarantined)
        found = await acquire(runner, "r2")
        for _ in range(20):
            runner.tick()
            await asyncio.sleep(0.02)
        return found.cold_start_ms, len(zygote.processes)

    assert asyncio.run(scene()) == (None, 4)


def test_closing_while_it_wakes_leaves_nothing(make_nest, acquire, until):
    async def scene():
        runner, zygote = make_nest("slow")
        call = asyncio.ensure_future(acquire(runner))
        await until(lambda: runner.status().stage == "loading 50%")
        await runner.close(5)
        return (await refused(call)).code, zygote.processes[0].wait(5)

    code, _ = asyncio.run(scene())
    assert code == "draining"


def test_one_that_leaves_before_its_caller_hears_of_it_is_not_given(make_nest, acquire):
    async def scene():
        runner, zygote = make_nest()
        hand, told = runner._predictors.hand, []

        def hand_and_leave(model):
            chosen = hand(model)
            if chosen is not None:
                told.append(chosen.address)
            if len(told) == 1:
                runner.sleep()
            return chosen

        runner._predictors.hand = hand_and_leave
        found = await acquire(runner)
        return told, found, len(zygote.processes)

    told, found, started = asyncio.run(scene())
    assert (len(told), found.address, started) == (2, told[1], 2)
