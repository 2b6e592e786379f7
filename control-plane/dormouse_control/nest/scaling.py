"""How many predictors of a service there should be: what to start, what to put to sleep. Pure."""

from dataclasses import dataclass

CROWDED_SECONDS = 0.5
"""So long must there be more calls than can be worked on before another predictor is started."""


@dataclass(frozen=True)
class Wanted:
    """`least` are awake whatever happens; more than `most` never."""

    least: int
    most: int
    idle_seconds: float


@dataclass(frozen=True)
class Ready:
    """One predictor that takes calls: it works on `slots` of them at once."""

    in_flight: int
    slots: int
    idle_seconds: float


@dataclass(frozen=True)
class Observed:
    """`starting` are on their way; those that drain are none of the service's any more.

    `needed`: a call waits for a predictor, or an operator wants one.
    """

    ready: tuple[Ready, ...]
    starting: int
    needed: bool
    crowded_seconds: float


@dataclass(frozen=True)
class Decision:
    """`sleep` is an index into `Observed.ready`."""

    start: bool = False
    sleep: int | None = None


def plan(wanted: Wanted, observed: Observed) -> Decision:
    """The next step. One predictor at a time starts, and one at a time is put to sleep."""
    if observed.starting:
        return Decision()
    awake = len(observed.ready)
    if awake < wanted.least or (not awake and observed.needed):
        return Decision(start=True)
    if awake and awake < wanted.most and observed.crowded_seconds >= CROWDED_SECONDS:
        return Decision(start=True)
    if awake > wanted.least:
        return Decision(sleep=_longest_idle(wanted, observed))
    return Decision()


def is_crowded(ready: tuple[Ready, ...]) -> bool:
    """Whether all together have more calls than they can work on at once."""
    return sum(each.in_flight for each in ready) > sum(each.slots for each in ready)


def _longest_idle(wanted: Wanted, observed: Observed) -> int | None:
    idle = [
        (each.idle_seconds, index)
        for index, each in enumerate(observed.ready)
        if not each.in_flight and each.idle_seconds >= wanted.idle_seconds
    ]
    return max(idle)[1] if idle else None
