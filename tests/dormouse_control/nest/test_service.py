"""A service wakes for the first call, sleeps after the last, and survives its predictors."""

import asyncio
import os
import signal

import pytest

from dormouse_control.nest.waiting import Refused


def test_nothing_runs_before_the_first_call(make_nest):
    runner, zygote = make_nest()
    assert runner.status().status == "asleep"
    assert zygote.processes == []


def test_the_first_call_wakes_and_the_second_finds_it_awake(make_nest, acquire):
    async def scene():
        runner, zygote = make_nest("slow")
        first = await acquire(runner)
        second = await acquire(runner, "r2")
        return runner.status(), zygote, first, second

    status, zygote, first, second = asyncio.run(scene())
    assert first.address == second.address
    assert first.cold_start_ms >= 500
    assert second.cold_start_ms is None
    assert len(zygote.processes) == 1
    assert (status.status, status.models_loaded) == ("awake", ("m",))
    assert status.last_cold_start_ms == first.cold_start_ms
    (config,) = zygote.configs
    assert len(config.pop("instance")) == 32
    place = {"gpu": None, "gpu_layers": 0, "contexts": 1}
    assert config == {"service": "chat", "model": "m", **place}


def test_many_first_calls_wake_one_predictor(make_nest, acquire):
    async def scene():
        runner, zygote = make_nest("slow", queue_length=100)
        found = await asyncio.gather(*(acquire(runner, f"r{i}") for i in range(100)))
        return zygote, found

    zygote, found = asyncio.run(scene())
    assert len(zygote.processes) == 1
    assert len({one.address for one in found}) == 1


def test_a_full_queue_refuses_with_a_time_to_come_back(make_nest, acquire):
    async def scene():
        runner, _ = make_nest("slow", queue_length=2)
        waiting = [asyncio.ensure_future(acquire(runner, f"r{i}")) for i in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(Refused) as caught:
            await acquire(runner, "r3")
        await asyncio.gather(*waiting)
        return caught.value

    refused = asyncio.run(scene())
    assert (refused.code, refused.retry_after > 0) == ("queue_full", True)


def test_who_hangs_up_leaves_the_queue(make_nest, acquire):
    async def scene():
        runner, _ = make_nest("slow", queue_length=1)
        gone = asyncio.ensure_future(acquire(runner))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        return (await acquire(runner, "r2")).address

    assert asyncio.run(scene())


def test_after_idle_seconds_the_process_is_gone(make_nest, until, acquire):
    async def scene():
        runner, zygote = make_nest(idle_seconds=0.3)
        await acquire(runner)
        runner.tick()
        early = runner.status().status
        await asyncio.sleep(0.35)
        runner.tick()
        await until(lambda: zygote.processes[0].poll() == 0)
        await until(lambda: runner.status().predictors == ())
        return early, runner.status().status

    assert asyncio.run(scene()) == ("awake", "asleep")


def test_a_busy_predictor_is_never_put_to_sleep(make_nest, until, acquire):
    async def scene():
        runner, _ = make_nest("busy", idle_seconds=0.01)
        await acquire(runner)
        await until(lambda: runner.status().predictors[0].in_flight == 1)
        await asyncio.sleep(0.1)
        runner.tick()
        return runner.status().status

    assert asyncio.run(scene()) == "awake"


@pytest.mark.parametrize(("mood", "hung"), [("alive", True), ("fine", False)])
def test_a_predictor_that_stopped_saying_that_it_lives_is_ended(make_nest, mood, hung, acquire):
    async def scene():
        runner, zygote = make_nest(mood)
        await acquire(runner)
        await asyncio.sleep(0.2)
        for _ in range(5):
            runner.kill_hung(checks=5)
        await asyncio.sleep(0.1)
        early = zygote.processes[0].poll()
        runner.kill_hung(checks=5)
        await asyncio.sleep(0.2)
        return early, zygote.processes[0].poll()

    assert asyncio.run(scene()) == (None, -signal.SIGKILL if hung else None)


@pytest.mark.parametrize(("mood", "killed"), [("silent", 1), ("stuck", 0)])
def test_r19_a_wake_in_which_nothing_moves_any_more_is_given_up(make_nest, mood, killed, acquire):
    """Nothing was heard of it, so it is the zygote that hangs; or it stopped while it loaded."""

    async def scene():
        runner, zygote = make_nest(mood, "fine", wake_seconds=300.0)
        call = asyncio.ensure_future(acquire(runner))
        async with asyncio.timeout(20):
            while not call.done():
                runner.kill_hung(checks=20)
                await asyncio.sleep(0.01)
        return zygote, await call

    zygote, found = asyncio.run(scene())
    assert found.address
    assert (zygote.killed, len(zygote.processes)) == (killed, 2)


def test_a_call_during_draining_wakes_another_predictor(make_nest, acquire):
    async def scene():
        runner, zygote = make_nest("stubborn", "fine")
        first = await acquire(runner)
        runner.sleep()
        second = await acquire(runner, "r2")
        return first, second, zygote

    first, second, zygote = asyncio.run(scene())
    assert len(zygote.processes) == 2
    assert first.address != second.address


def test_a_killed_predictor_is_replaced_for_the_next_call(make_nest, until, acquire):
    async def scene():
        runner, zygote = make_nest()
        first = await acquire(runner)
        os.kill(zygote.processes[0].pid, signal.SIGKILL)
        await until(lambda: runner.status().status == "asleep")
        second = await acquire(runner, "r2")
        return first, second

    first, second = asyncio.run(scene())
    assert first.address != second.address
    assert second.cold_start_ms is not None


def test_a_call_that_waits_is_answered_by_the_next_predictor_if_one_crashes(make_nest, acquire):
    async def scene():
        runner, zygote = make_nest("crash", "no zygote", "fine")
        await acquire(runner)
        return len(zygote.configs)

    assert asyncio.run(scene()) == 3


def test_a_service_that_cannot_wake_says_why_and_does_not_spin(make_nest, acquire):
    async def scene():
        runner, zygote = make_nest("fail")
        with pytest.raises(Refused) as first:
            await acquire(runner)
        with pytest.raises(Refused) as second:
            await acquire(runner, "r2")
        return first.value, second.value, zygote, runner.status()

    first, second, zygote, status = asyncio.run(scene())
    assert first.code == second.code == "waking_failed"
    assert "no such file: x.gguf" in first.message
    assert len(zygote.processes) == 3  # three attempts for the first, none for the second
    assert status.status == "failed"
    assert "x.gguf" in status.stage


def test_a_predictor_that_never_gets_ready_is_killed(make_nest, acquire):
    async def scene():
        runner, zygote = make_nest("hang", wake_seconds=0.5)
        with pytest.raises(Refused):
            await acquire(runner)
        return [process.wait(5) for process in zygote.processes]

    assert asyncio.run(scene()) == [-signal.SIGKILL] * 3


def test_closing_refuses_new_calls_and_ends_every_predictor(make_nest, acquire):
    async def scene():
        runner, zygote = make_nest()
        await acquire(runner)
        await runner.close(5)
        with pytest.raises(Refused) as caught:
            await acquire(runner, "r2")
        return caught.value.code, zygote.processes[0].wait(5)

    assert asyncio.run(scene()) == ("draining", 0)


def test_closing_kills_who_does_not_end(make_nest, acquire):
    async def scene():
        runner, zygote = make_nest("stubborn")
        await acquire(runner)
        await runner.close(0.3)
        return zygote.processes[0].wait(5)

    assert asyncio.run(scene()) == -signal.SIGKILL


def test_while_it_wakes_the_status_tells_how_far_it_has_come(make_nest, until, acquire):
    async def scene():
        runner, _ = make_nest("slow")
        waiting = asyncio.ensure_future(acquire(runner))
        await until(lambda: runner.status().stage == "loading 50%")
        status = runner.status()
        await waiting
        return status

    status = asyncio.run(scene())
    assert (status.status, status.queue) == ("waking", 1)


def test_a_zygote_that_fails_leaves_no_ghost_behind(make_nest, acquire):
    async def scene():
        runner, _ = make_nest("no zygote")
        with pytest.raises(Refused):
            await acquire(runner)
        status = runner.status()
        async with asyncio.timeout(1):
            await runner.close(30)
        return status

    status = asyncio.run(scene())
    assert (status.status, status.predictors) == ("failed", ())
