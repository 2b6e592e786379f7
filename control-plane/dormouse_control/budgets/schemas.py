"""Wire types of budgets."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dormouse_control.budgets.amounts import Money
from dormouse_control.budgets.decisions import DEFAULT_THRESHOLDS
from dormouse_control.wire import Answer, Body

Period = Literal["day", "month", "total"]
Source = Literal["budget", "key", "tier"]
Action = Literal["notify", "lower_priority", "refuse_gpu", "refuse"]


class ThresholdWrite(Body):
    """What follows when so many percent of the limit are spent."""

    at_percent: int = Field(ge=1, le=1000)
    action: Action


def _different(values: list[ThresholdWrite]) -> list[ThresholdWrite]:
    if len(set(values)) != len(values):
        raise ValueError("names the same threshold twice")
    return sorted(values, key=lambda each: (each.at_percent, each.action))


_DEFAULT = [
    ThresholdWrite(at_percent=each.at_percent, action=each.action.value)
    for each in DEFAULT_THRESHOLDS
]


class BudgetWrite(Body):
    """All of a budget: without `thresholds` it is told at 80 percent and refuses from 100 on.

    A budget without "refuse" refuses nothing: it tells, and does what else its thresholds say.
    """

    limit: Money
    thresholds: Annotated[
        list[ThresholdWrite], Field(min_length=1, max_length=10), AfterValidator(_different)
    ] = Field(default=_DEFAULT)


class ThresholdRead(Answer):
    at_percent: int
    action: Action
    reached: bool


class BudgetRead(Answer):
    """One budget, and what is spent of it in the present period, in the platform's currency.

    `subject_id` is the id of the user, key or group whose calls count on it, `name` what a key or
    group is called. `source`: "budget" if an administrator set it, "key" if the key's owner did,
    "tier" if the user's tier has it. `left` is never below 0. `renews_at` null: never.
    """

    subject: Literal["user", "key", "group"]
    subject_id: str
    name: str | None
    source: Source
    period: Period
    limit: float
    spent: float
    left: float
    renews_at: datetime | None
    thresholds: list[ThresholdRead]


class BudgetList(Answer):
    items: list[BudgetRead]
    currency: str


class BudgetPage(BudgetList):
    """`next` goes into `after` for the next page; null on the last."""

    next: str | None
