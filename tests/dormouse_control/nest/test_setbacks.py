"""Pauses between attempts, and models that are left alone."""

import pytest

from dormouse_control.nest.setbacks import (
    FAILED_SECONDS,
    LONGEST_PAUSE,
    LONGEST_QUARANTINE,
    QUARANTINE_SECONDS,
    STEADY_SECONDS,
    Setbacks,
    pause_after,
)


def after(*failures, now=0.0):
    """Setbacks after failures, each a model or None, with ! if the predictor died over it."""
    setbacks = Setbacks("chat")
    for each in failures:
        died = each is not None and each.endswith("!")
        setbacks.failed(each and each.rstrip("!"), "why", died=died, now=now)
    return setbacks


def code(setbacks, model, now=0.0):
    block = setbacks.block(model, now)
    return None if block is None else block.code


def test_pauses_double_up_to_a_bound():
    pauses = [pause_after(n) for n in range(1, 9)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == pause_after(1000) == LONGEST_PAUSE


def test_a_success_ends_the_pauses():
    setbacks = after("m!", "m!")
    assert setbacks.pause(0) == pytest.approx(0.2)
    assert setbacks.pause(0.2) == 0
    setbacks.woke("m")
    setbacks.failed("m", "why", died=True, now=100)
    assert setbacks.pause(100) == pytest.approx(0.1)


def test_who_dies_soon_after_it_was_ready_makes_pauses_too():
    setbacks = Setbacks("chat")
    for now in (1.0, 2.0, 3.0):
        setbacks.woke("m")
        setbacks.died_awake(0.1, now=now)
    assert setbacks.pause(3.0) == pytest.approx(0.4)
    setbacks.died_awake(STEADY_SECONDS, now=100.0)
    assert setbacks.pause(100.0) == 0


@pytest.mark.parametrize(
    ("failures", "of_m", "of_other"),
    [
        (["m!", "m!"], None, None),
        (["m!", "m!", "m!"], "model_quarantined", None),
        (["m!", "other!", "m!", "m!"], "model_quarantined", None),
        (["m", "m", "m"], "waking_failed", None),
        (["m!", "m!", "m"], "waking_failed", None),  # the last one said why
        ([None, None, None], "waking_failed", "waking_failed"),  # no fault of any model
        ([None, None, "m!"], None, None),
    ],
)
def test_three_in_a_row_block_a_model(failures, of_m, of_other):
    setbacks = after(*failures)
    assert (code(setbacks, "m"), code(setbacks, "other")) == (of_m, of_other)


def test_who_said_why_may_try_three_times_again_soon():
    setbacks = after("m", "m", "m")
    assert code(setbacks, "m", FAILED_SECONDS) is None
    setbacks.failed("m", "why", died=False, now=FAILED_SECONDS)
    assert code(setbacks, "m", FAILED_SECONDS) is None


def test_who_died_is_tried_once_more_each_time_later():
    setbacks = after("m!", "m!", "m!")
    now = 0.0
    for wait in (QUARANTINE_SECONDS, QUARANTINE_SECONDS * 2, QUARANTINE_SECONDS * 4):
        assert code(setbacks, "m", now + wait - 1) == "model_quarantined"
        assert setbacks.quarantined(now + wait - 1) == ("m",)
        now += wait
        assert code(setbacks, "m", now) is None
        setbacks.failed("m", "why", died=True, now=now)
    for _ in range(20):
        setbacks.failed("m", "why", died=True, now=now)
    assert setbacks.block("m", now).until == now + LONGEST_QUARANTINE


@pytest.mark.parametrize("end", [Setbacks.forgive, lambda setbacks: setbacks.woke("m")])
def test_an_operator_or_a_success_ends_it(end):
    setbacks = after("m!", "m!", "m!")
    end(setbacks)
    assert code(setbacks, "m") is None
    setbacks.failed("m", "why", died=True, now=0)
    assert code(setbacks, "m") is None


def test_asking_who_is_quarantined_changes_nothing():
    """It is asked from a thread that knows nothing of wakes."""
    looked_at, left_alone = after("m", "m", "m"), after("m", "m", "m")
    assert looked_at.quarantined(FAILED_SECONDS) == ()
    for each in (looked_at, left_alone):
        each.failed("m", "why", died=False, now=FAILED_SECONDS)
    assert code(looked_at, "m") == code(left_alone, "m") == "waking_failed"
