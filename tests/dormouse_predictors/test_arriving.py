"""What bodies may take that have not come whole."""

import contextlib

import pytest

from dormouse_predictors.arriving import MOST, MOST_OF_ONE, Arriving
from dormouse_predictors.errors import CallError

MIB = 1024 * 1024


def fill(arriving: Arriving, stack: contextlib.ExitStack, user: str, size: int) -> int:
    """How many bodies of this size the user may send at once."""
    for number in range(1000):
        body = stack.enter_context(arriving.body(user))
        try:
            for _ in range(size // MIB):
                body.grow(MIB)
        except CallError:
            return number
    return 1000


def test_one_user_may_not_fill_it_and_all_together_may_not_go_beyond() -> None:
    arriving = Arriving()
    with contextlib.ExitStack() as stack:
        counts = [fill(arriving, stack, f"usr_{number}", 32 * MIB) for number in range(9)]
        assert counts == [2] * 4 + [0] * 5
        assert MOST - 9 * MIB < arriving.held.total() <= MOST
    assert arriving.held == {}
    assert arriving.calls == 0


def test_room_is_there_again_when_a_body_has_come_or_its_sender_has_gone() -> None:
    arriving = Arriving()
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            assert fill(arriving, stack, "usr_1", 32 * MIB) == 2
    with contextlib.suppress(RuntimeError), arriving.body("usr_1") as body:
        body.grow(MOST_OF_ONE)
        raise RuntimeError
    assert arriving.held == {}


def test_who_finds_no_room_is_told_when_to_come_back() -> None:
    arriving = Arriving()
    with arriving.body("usr_1") as first, arriving.body("usr_1") as second:
        first.grow(MOST_OF_ONE - MIB)
        second.grow(MIB)
        with pytest.raises(CallError) as caught:
            second.grow(1)
    error = caught.value
    assert (error.status, error.code, error.retry_after) == (503, "overloaded", 1)


def test_a_single_body_may_be_as_long_as_bodies_may_be() -> None:
    arriving = Arriving()
    with arriving.body("usr_1") as body, arriving.body("usr_2") as other:
        for _ in range(3):
            body.grow(MOST)
        with pytest.raises(CallError):
            other.grow(1)
