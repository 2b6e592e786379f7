"""Subjects take turns, and only numbers of the same round are compared.

A round begins and ends with the baseline. If the two differ much, the machine was disturbed and the
round is thrown away; its numbers come in only if there are too few others.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from suite.subjects import Subject
from suite.wrk import Errors, Measured

NOISE = 0.15


@dataclass(frozen=True)
class Round:
    baseline: Measured
    others: Mapping[str, Measured]
    noise: float
    """How much the baseline differed from begin to end, as a part of its smaller value."""


@dataclass(frozen=True)
class Spread:
    """Ratios of one number of one subject to another's, one a round."""

    least: float
    median: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.least:.3g}-{self.most:.3g})"


class Rounds:
    def __init__(self, measured: Sequence[Round], wanted: int) -> None:
        quiet = [each for each in measured if each.noise <= NOISE]
        self.thrown_away = len(measured) - len(quiet)
        quietest = sorted(measured, key=lambda each: each.noise)
        self.kept = quiet if len(quiet) >= wanted / 2 else quietest[: max(1, wanted // 2)]
        self.noise = statistics.median(each.noise for each in measured)

    def has(self, name: str) -> bool:
        return any(name in each.others for each in self.kept)

    def ratio(
        self, name: str, number: Callable[[Measured], float], to: str | None = None
    ) -> Spread:
        """To the baseline, or to subject `to`."""
        return spread(
            [
                number(each.others[name]) / number(each.others[to] if to else each.baseline)
                for each in self.kept
                if name in each.others and (to is None or to in each.others)
            ]
        )

    def ratio_to_most(self, name: str, number: Callable[[Measured], float]) -> Spread:
        """To that of the others that had most of it in the round."""
        return spread(
            [
                number(each.others[name])
                / max(number(value) for other, value in each.others.items() if other != name)
                for each in self.kept
                if name in each.others and len(each.others) > 1
            ]
        )

    def best(self, name: str | None, number: Callable[[Measured], float]) -> float:
        """The least of all rounds; None is the baseline."""
        return min(
            number(each.others[name] if name else each.baseline)
            for each in self.kept
            if name is None or name in each.others
        )


def interleaved(
    baseline: Subject,
    others: Sequence[Subject],
    measure: Callable[[Subject], Measured],
    *,
    rounds: int,
) -> Rounds:
    """A subject that fails in a round has no number there. Raises `Errors` for the baseline."""
    found: list[Round] = []
    while len(found) < rounds or (_quiet(found) < rounds and len(found) < 2 * rounds):
        before = measure(baseline)
        numbers: dict[str, Measured] = {}
        for subject in others:
            try:
                numbers[subject.name] = measure(subject)
            except Errors as error:
                print(f"  {error}".splitlines()[0], flush=True)
        after = measure(baseline)
        noise = abs(before.p50_us - after.p50_us) / min(before.p50_us, after.p50_us)
        found.append(Round(_mean(before, after), numbers, noise))
    return Rounds(found, rounds)


def spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), statistics.median(values), max(values))


def _quiet(found: Sequence[Round]) -> int:
    return sum(each.noise <= NOISE for each in found)


def _mean(one: Measured, other: Measured) -> Measured:
    return Measured(
        p50_us=(one.p50_us + other.p50_us) / 2,
        p99_us=(one.p99_us + other.p99_us) / 2,
        rps=(one.rps + other.rps) / 2,
        cpu_us=(one.cpu_us + other.cpu_us) / 2,
    )
