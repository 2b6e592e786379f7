"""Calls go to the least loaded predictor."""

from dataclasses import dataclass

import pytest

from dormouse_control.nest.routing import choose


@dataclass(frozen=True)
class Candidate:
    name: str
    calls: int = 0
    slots: int = 1
    model: str = "m"

    def load(self, now: float) -> int:  # noqa: ARG002  of a predictor it depends on it
        return self.calls


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([Candidate("a"), Candidate("b")], "a"),  # the first, so that the second can sleep
        ([Candidate("a", 1), Candidate("b")], "b"),
        ([Candidate("a", 3), Candidate("b", 2)], "b"),
        ([Candidate("a", 4, slots=8), Candidate("b", 1, slots=1)], "a"),
        ([Candidate("a", 16, slots=8), Candidate("b", 3)], "a"),  # by what they can work on
        ([Candidate("a", model="other"), Candidate("b")], "b"),  # need not load it first
        ([Candidate("a", 1), Candidate("b", model="other")], "b"),  # but could begin at once
        ([Candidate("a", 2), Candidate("b", 9)], "a"),
        ([Candidate("a", 2, model="other"), Candidate("b", 2)], "b"),
    ],
)
def test_the_least_loaded(candidates, chosen):
    found = choose(candidates, "m", now=0)
    assert found is not None
    assert found.name == chosen


def test_nobody_is_chosen_of_none():
    assert choose([], "m", now=0) is None
