"""How many calls are taken in, by how late the event loop is."""

import asyncio
import time

import pytest

from dormouse_predictors.errors import CallError
from dormouse_predictors.intake import LATE_SECONDS, LEAST, MOST, Intake


def test_at_first_as_many_as_come():
    Intake().check(MOST)


def test_a_late_loop_takes_in_fewer_than_it_has():
    intake = Intake()
    intake.learn(LATE_SECONDS * 2, 500)
    intake.check(400)
    with pytest.raises(CallError) as caught:
        intake.check(401)
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    assert caught.value.retry_after == 1


def test_a_few_are_always_taken():
    intake = Intake()
    for _ in range(100):
        intake.learn(1.0, 1)
    assert intake.limit == LEAST


def test_who_keeps_up_takes_in_more_again():
    intake = Intake()
    intake.learn(1.0, 1000)
    for _ in range(5):
        intake.learn(0.0, 800)
    assert 800 < intake.limit < 1200
    for _ in range(500):
        intake.learn(0.0, 80)
    assert intake.limit == MOST


def test_many_calls_that_only_wait_are_no_reason():
    intake = Intake()
    intake.learn(0.0, 5000)
    intake.check(6000)


def test_a_loop_that_is_held_up_is_seen():
    async def hold_up():
        intake = Intake()
        watching = asyncio.create_task(intake.watch(lambda: 200))
        await asyncio.sleep(0.01)
        time.sleep(0.3)
        await asyncio.sleep(0.01)
        watching.cancel()
        return intake.limit

    assert asyncio.run(hold_up()) == 160
