"""A model that is taken out of the catalogue while something is wanted of it."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from dormouse_control.nest.inventory import Inventory
from dormouse_control.nest.memory import MemoryHandler
from dormouse_control.nest.sizes import Sizes
from dormouse_control.nest.waiting import Refused


@pytest.fixture
def models(make_shared):
    anything = make_shared().models
    return {("chat", name): anything["chat", name] for name in ("m", "other", "gone")}


@pytest.fixture
def shared(make_shared, models, tmp_path):
    memory = MemoryHandler(models, Inventory(), Sizes(tmp_path / "s.json"), evict=lambda _: None)
    return make_shared(models=models, memory=memory)


def test_who_waits_for_it_is_refused_and_others_wake(make_nest, acquire, shared, models):
    """At the worst moment: its predictor was to be started."""

    async def scene():
        runner, zygote = make_nest(shared=shared)
        calls = [
            asyncio.create_task(acquire(runner, model, model=model)) for model in ("gone", "other")
        ]
        await asyncio.sleep(0)
        del models["chat", "gone"]
        async with asyncio.timeout(30):
            found = await asyncio.gather(*calls, return_exceptions=True)
        return found, runner.status(), [each["model"] for each in zygote.configs]

    with capture_logs() as logs:
        (refused, woken), status, started = asyncio.run(scene())
    assert (refused.code, refused.retry_after) == ("model_not_found", None)
    assert (woken.address != "", status.status, started) == (True, "awake", ["other"])
    assert not [each for each in logs if each["event"].startswith("wake_")]


def test_who_waits_while_another_model_is_loaded_hears_at_once(make_nest, acquire, shared, models):
    async def scene():
        runner, _ = make_nest("hang", shared=shared)
        first = asyncio.create_task(acquire(runner, "r1", model="m"))
        gone = asyncio.create_task(acquire(runner, "r2", model="gone"))
        await asyncio.sleep(0.1)
        del models["chat", "gone"]
        runner.replan(runner._plan)
        with pytest.raises(Refused, match="offers no model gone") as caught:
            await asyncio.wait_for(gone, 10)
        waits = not first.done()
        first.cancel()
        await runner.close(0)
        return caught.value.code, waits

    assert asyncio.run(scene()) == ("model_not_found", True)


def test_a_second_predictor_does_not_start_with_it(make_nest, acquire, shared, models, until):
    async def scene():
        runner, zygote = make_nest(shared=shared, max_replicas=2)
        await acquire(runner, model="gone")
        del models["chat", "gone"]
        runner.replan(replace(runner._plan, min_replicas=2))
        runner.tick()
        await until(lambda: len(runner.status().predictors) == 2)
        return [each["model"] for each in zygote.configs]

    assert asyncio.run(scene()) == ["gone", "m"]
