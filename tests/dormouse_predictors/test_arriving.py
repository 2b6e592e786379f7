"""What bodies may take that have not come whole."""

import contextlib

import pytest

from dormouse_predictors.arriving import LONG, MOST, MOST_OF_ONE, Arriving
from dormouse_predictors.errors import CallError

MIB = 1024 * 1024


def fill(arriving: Arriving, stack: contextlib.ExitStack, user: str, size: int) -> int:
    """How many bodies of this size the user may send at once."""
    for number in range(1000):
        try:
            stack.enter_context(arriving.room(user, size))
        except CallError:
            return number
    return 1000


def test_one_user_may_not_fill_it_and_all_together_may_not_go_beyond() -> None:
    arriving = Arriving()
    with contextlib.ExitStack() as stack:
        sizes = [fill(arriving, stack, f"usr_{number}", 32 * MIB) * 32 * MIB for number in range(9)]
    assert sizes == [MOST_OF_ONE] * 4 + [0] * 5
    assert sum(sizes) == MOST


def test_room_is_there_again_when_a_body_has_come_or_its_sender_has_gone() -> None:
    arriving = Arriving()
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            assert fill(arriving, stack, "usr_1", 32 * MIB) == 2
    with pytest.raises(RuntimeError), arriving.room("usr_1", MOST_OF_ONE):
        raise RuntimeError
    with arriving.room("usr_1", MOST_OF_ONE):
        pass


def test_who_finds_no_room_is_told_when_to_come_back() -> None:
    arriving = Arriving()
    second = arriving.room("usr_1", MOST_OF_ONE)
    with arriving.room("usr_1", MIB), pytest.raises(CallError) as caught, second:
        pass
    error = caught.value
    assert (error.status, error.code, error.retry_after) == (503, "overloaded", 1)


def test_short_bodies_are_never_in_the_way() -> None:
    arriving = Arriving()
    with contextlib.ExitStack() as stack:
        fill(arriving, stack, "usr_1", 32 * MIB)
        assert fill(arriving, stack, "usr_1", LONG) == 1000


def test_a_single_body_may_be_as_long_as_bodies_may_be() -> None:
    arriving = Arriving()
    first = arriving.room("usr_1", 2 * MOST)
    with first, pytest.raises(CallError), arriving.room("usr_2", LONG + 1):
        pass
    with arriving.room("usr_2", 2 * MOST):
        pass
