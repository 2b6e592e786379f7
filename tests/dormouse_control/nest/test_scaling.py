"""What is started and what is put to sleep, by a table."""

import pytest

from dormouse_control.nest.scaling import (
    CROWDED_SECONDS,
    Decision,
    Observed,
    Ready,
    Wanted,
    is_crowded,
    plan,
)

BUSY = Ready(in_flight=1, slots=1, idle_seconds=0)
IDLE = Ready(in_flight=0, slots=1, idle_seconds=400)
IDLER = Ready(in_flight=0, slots=1, idle_seconds=500)
RESTED = Ready(in_flight=0, slots=1, idle_seconds=299)
NOTHING, START = Decision(), Decision(start=True)
LONG = CROWDED_SECONDS


@pytest.mark.parametrize(
    ("least", "most", "ready", "starting", "needed", "crowded", "decision"),
    [
        (0, 1, (), 0, False, 0, NOTHING),
        (0, 1, (), 0, True, 0, START),
        (0, 1, (), 1, True, 0, NOTHING),  # it is on its way
        (0, 1, (BUSY,), 0, True, LONG, NOTHING),  # no more are allowed
        (0, 2, (BUSY,), 0, False, LONG, START),
        (0, 2, (BUSY,), 0, False, LONG / 2, NOTHING),  # a moment is nothing
        (0, 2, (BUSY,), 1, False, LONG, NOTHING),
        (0, 2, (BUSY, BUSY), 0, False, LONG, NOTHING),
        (0, 3, (BUSY, BUSY), 0, False, LONG, START),
        (1, 1, (), 0, False, 0, START),
        (2, 3, (BUSY,), 0, False, 0, START),
        (2, 3, (BUSY,), 1, False, 0, NOTHING),  # one at a time
        (0, 1, (IDLE,), 0, False, 0, Decision(sleep=0)),
        (0, 1, (RESTED,), 0, False, 0, NOTHING),
        (1, 1, (IDLE,), 0, False, 0, NOTHING),
        (1, 3, (IDLE, IDLE), 0, False, 0, Decision(sleep=1)),
        (0, 3, (IDLE, IDLER, BUSY), 0, False, 0, Decision(sleep=1)),  # the idlest, and only it
        (0, 3, (BUSY, BUSY), 0, False, 0, NOTHING),
        (0, 1, (BUSY, IDLE), 0, False, 0, Decision(sleep=1)),
    ],
)
def test_the_next_step(least, most, ready, starting, needed, crowded, decision):
    observed = Observed(ready, starting, needed, crowded)
    assert plan(Wanted(least, most, idle_seconds=300), observed) == decision


@pytest.mark.parametrize(
    ("ready", "crowded"),
    [
        ((), False),
        ((Ready(1, 1, 0),), False),
        ((Ready(2, 1, 0),), True),
        ((Ready(8, 8, 0),), False),
        ((Ready(9, 8, 0),), True),
        ((Ready(3, 1, 0), Ready(0, 2, 0)), False),  # together they can
    ],
)
def test_crowded_is_more_than_all_can_work_on(ready, crowded):
    assert is_crowded(ready) is crowded
