"""Which of several predictors a call goes to: the least loaded. Pure."""

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """One that is ready, with the model it has loaded last."""

    model: str
    slots: int

    def load(self, now: float) -> int:
        """Calls that it has, and those that are on their way to it."""
        ...


Chosen = TypeVar("Chosen", bound=Candidate)


def choose(candidates: Iterable[Chosen], model: str, now: float) -> Chosen | None:
    """Among those that could begin at once who need not load the model first; among equals the
    first, so that the later ones get idle and can sleep. None if there is none.
    """
    return min(candidates, key=lambda each: _rank(each, model, now), default=None)


def _rank(candidate: Candidate, model: str, now: float) -> tuple[int, float, float]:
    load = candidate.load(now)
    loads = float(candidate.model != model)
    if load < candidate.slots:
        return (0, loads, load / candidate.slots)
    return (1, load / candidate.slots, loads)
