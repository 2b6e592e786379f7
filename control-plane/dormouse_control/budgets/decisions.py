"""What budgets decide: over which time they count, and what follows from how much is spent. Pure.

What is spent is the sum of what was booked. Days and months are UTC's, and a call counts where it
ended.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from dormouse_control.identity.models import Period

LOWEST_PRIORITY = 2


class Subject(StrEnum):
    """Whose calls a budget is for: one user's, one key's, or those of all members of a group."""

    USER = "user"
    KEY = "key"
    GROUP = "group"


class Action(StrEnum):
    """What follows when so much of a budget is spent."""

    NOTIFY = "notify"
    LOWER_PRIORITY = "lower_priority"
    REFUSE_GPU = "refuse_gpu"
    REFUSE = "refuse"


@dataclass(frozen=True, order=True)
class Threshold:
    at_percent: int
    action: Action

    def amount_nano(self, limit_nano: int) -> int:
        """The smallest amount that reaches it."""
        return -(-limit_nano * self.at_percent // 100)


DEFAULT_THRESHOLDS = (Threshold(80, Action.NOTIFY), Threshold(100, Action.REFUSE))


@dataclass(frozen=True)
class Budget:
    """`limit_nano` in billionths of the currency; `begins` is when its present period began.

    `id` is that of a budget which an administrator set, or made of the key's or user's id for the
    budget that a key or a tier has.
    """

    id: str
    subject: Subject
    subject_id: str
    limit_nano: int
    period: Period
    begins: datetime | None
    thresholds: Sequence[Threshold] = DEFAULT_THRESHOLDS

    @property
    def refused_from_nano(self) -> int | None:
        """From which amount on every call is refused; None: never."""
        amounts = [
            threshold.amount_nano(self.limit_nano)
            for threshold in self.thresholds
            if threshold.action is Action.REFUSE
        ]
        return min(amounts, default=None)

    def reached(self, spent_nano: int) -> list[Threshold]:
        return [
            threshold
            for threshold in self.thresholds
            if threshold.amount_nano(self.limit_nano) <= spent_nano
        ]


@dataclass(frozen=True)
class Standing:
    """What a caller's budgets leave. `until` is when the first of them begins anew that takes
    something away; None: never by itself.
    """

    over: bool = False
    lowers_priority: bool = False
    refuses_gpu: bool = False
    until: datetime | None = None


def standing(found: Iterable[tuple[Budget, int]], *, now: datetime) -> Standing:
    """Of budgets, each with what is spent of it."""
    actions: set[Action] = set()
    ends: list[datetime] = []
    for budget, spent_nano in found:
        taken = {threshold.action for threshold in budget.reached(spent_nano)} - {Action.NOTIFY}
        actions |= taken
        over = end(budget.period, now=now) if taken else None
        ends += [over] if over is not None else []
    return Standing(
        over=Action.REFUSE in actions,
        lowers_priority=Action.LOWER_PRIORITY in actions,
        refuses_gpu=Action.REFUSE_GPU in actions,
        until=min(ends, default=None),
    )


def begin(period: Period, *, now: datetime) -> datetime | None:
    """When the period that runs now began; None: it has always been running."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period is Period.TOTAL:
        return None
    return midnight if period is Period.DAY else midnight.replace(day=1)


def end(period: Period, *, now: datetime) -> datetime | None:
    """When the next period begins; None: never."""
    began = begin(period, now=now)
    if began is None:
        return None
    if period is Period.DAY:
        return began + timedelta(days=1)
    return (began + timedelta(days=32)).replace(day=1)
