"""What wakes while it is still asked whether a call may come in."""

import asyncio
from dataclasses import replace

import pytest

from dormouse_control.nest.client import NestClient
from dormouse_control.nest.starts import Starts
from dormouse_control.nest.waiting import Refused


def test_a_call_that_was_expected_finds_its_predictor_on_its_way(make_nest, acquire, until):
    async def scene():
        runner, zygote = make_nest("slow")
        runner.expect("big")
        runner.expect("big")
        await until(lambda: zygote.processes)
        found = await acquire(runner, model="big")
        runner.expect("big")  # it is awake
        await asyncio.sleep(0.05)
        return found, zygote

    found, zygote = asyncio.run(scene())
    assert found.cold_start_ms is not None
    assert [config["model"] for config in zygote.configs] == ["big"]


def test_its_weights_are_read_ahead(make_nest, make_shared, until):
    read = []

    async def scene():
        shared = make_shared(read_ahead=lambda *asked: read.append(asked))
        runner, _ = make_nest(shared=shared)
        runner.expect("big")
        await until(lambda: runner.status().status == "awake")

    asyncio.run(scene())
    assert read == [("chat", "big")]


def test_one_that_nobody_called_after_all_sleeps_again(make_nest, until):
    async def scene():
        runner, zygote = make_nest(idle_seconds=0.1)
        runner.expect("m")
        await until(lambda: runner.status().status == "awake")
        await asyncio.sleep(0.15)
        runner.tick()
        await until(lambda: runner.status().status == "asleep")
        for _ in range(5):
            runner.tick()
            await asyncio.sleep(0.01)
        return zygote

    assert len(asyncio.run(scene()).processes) == 1


def test_what_fails_is_not_tried_again_for_a_call_that_may_never_come(make_nest, until):
    async def scene():
        runner, zygote = make_nest("fail")
        runner.expect("m")
        await until(lambda: runner.status().status == "failed")
        runner.expect("m")  # in the pause after the failure
        for _ in range(30):
            runner.tick()
            await asyncio.sleep(0.01)
        return zygote

    assert len(asyncio.run(scene()).processes) == 1


def test_a_model_that_is_refused_by_name_is_left_alone(make_nest, make_shared, acquire):
    read = []

    async def scene():
        runner, zygote = make_nest("fail", shared=make_shared(read_ahead=lambda *_: read.append(1)))
        with pytest.raises(Refused):
            await acquire(runner)
        read.clear()
        tried = len(zygote.processes)
        await asyncio.sleep(1)  # past the pause between attempts
        runner.expect("m")
        await asyncio.sleep(0.05)
        return len(zygote.processes) - tried

    assert (asyncio.run(scene()), read) == (0, [])


def test_a_model_that_is_not_offered_wakes_nothing(make_nest, make_shared):
    async def scene():
        runner, zygote = make_nest(shared=replace(make_shared(), models={}))
        runner.expect("m")
        await asyncio.sleep(0.05)
        return zygote

    assert asyncio.run(scene()).configs == []


def test_a_service_that_closes_wakes_nothing(make_nest):
    async def scene():
        runner, zygote = make_nest()
        await runner.close(1)
        runner.expect("m")
        await asyncio.sleep(0.05)
        return zygote

    assert asyncio.run(scene()).configs == []


def test_without_a_connection_nothing_is_said(tmp_path):
    async def scene():
        NestClient(tmp_path / "nowhere").expect(service="chat", model="m")

    asyncio.run(scene())


def test_more_services_than_cores_wake_one_after_the_other(make_nest, make_shared, acquire, until):
    async def scene():
        shared = make_shared(starts=Starts(1))
        nests = [make_nest("slow", service=name, shared=shared) for name in ("one", "two")]
        first, second = (asyncio.ensure_future(acquire(runner)) for runner, _ in nests)
        await until(lambda: nests[0][1].processes)
        await asyncio.sleep(0.1)
        before = len(nests[1][1].processes)
        await asyncio.gather(first, second)
        return before, len(nests[1][1].processes)

    assert asyncio.run(scene()) == (0, 1)


def test_who_is_told_to_sleep_before_its_turn_never_begins(make_nest, make_shared, acquire, until):
    async def scene():
        starts = Starts(1)
        runner, zygote = make_nest(shared=make_shared(starts=starts))
        async with starts.turn():
            runner.wake()
            await asyncio.sleep(0.05)
            runner.sleep()
        await until(lambda: runner.status().status == "asleep")
        assert zygote.configs == []
        assert runner.status().predictors == ()
        return await acquire(runner)

    assert asyncio.run(scene()).cold_start_ms is not None


def test_what_an_operator_put_to_sleep_wakes_only_for_a_call_that_came_in(
    make_nest, make_shared, acquire, until
):
    read = []

    async def scene():
        shared = make_shared(read_ahead=lambda *_: read.append(1))
        runner, _ = make_nest(shared=shared)
        await acquire(runner)
        runner.sleep()
        await until(lambda: runner.status().predictors == ())
        read.clear()
        runner.expect("m")
        assert runner.status().status == "asleep"
        assert read == []
        await acquire(runner)
        assert read == [1]

    asyncio.run(scene())
