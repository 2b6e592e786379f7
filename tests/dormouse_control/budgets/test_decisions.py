"""What budgets decide, without a database."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dormouse_control.budgets import decisions as budgets
from dormouse_control.budgets.decisions import Action, Budget, Standing, Subject, Threshold
from dormouse_control.identity.models import Period

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


def budget(*thresholds: tuple[int, str], limit: int = 1000, period: str = "day") -> Budget:
    return Budget(
        id="bud_x",
        subject=Subject.USER,
        subject_id="usr_x",
        limit_nano=limit,
        period=Period(period),
        begins=budgets.begin(Period(period), now=NOW),
        thresholds=[Threshold(percent, Action(action)) for percent, action in thresholds],
    )


@pytest.mark.parametrize(
    ("period", "now", "begin", "end"),
    [
        (Period.DAY, "2030-01-31T23:59:59+00:00", "2030-01-31", "2030-02-01"),
        (Period.DAY, "2030-02-01T00:30:00+01:00", "2030-01-31", "2030-02-01"),
        (Period.MONTH, "2030-01-01T00:00:00+00:00", "2030-01-01", "2030-02-01"),
        (Period.MONTH, "2030-12-31T12:00:00+00:00", "2030-12-01", "2031-01-01"),
        (Period.MONTH, "2028-02-29T12:00:00+00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_periods_are_utcs(period: Period, now: str, begin: str, end: str) -> None:
    at = datetime.fromisoformat(now)
    assert budgets.begin(period, now=at) == datetime.fromisoformat(begin).replace(tzinfo=UTC)
    assert budgets.end(period, now=at) == datetime.fromisoformat(end).replace(tzinfo=UTC)


def test_a_total_never_begins_anew() -> None:
    now = datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=5)))
    assert budgets.begin(Period.TOTAL, now=now) is None
    assert budgets.end(Period.TOTAL, now=now) is None


def test_without_budgets_nothing_is_taken_away() -> None:
    assert budgets.standing([], now=NOW) == Standing()


@pytest.mark.parametrize(
    ("spent", "expected"),
    [
        (499, Standing()),
        (500, Standing()),  # to be told is no loss
        (799, Standing()),
        (800, Standing(False, True, False, datetime(2030, 2, 1, tzinfo=UTC))),
        (1000, Standing(False, True, True, datetime(2030, 2, 1, tzinfo=UTC))),
        (1499, Standing(False, True, True, datetime(2030, 2, 1, tzinfo=UTC))),
        (1500, Standing(True, True, True, datetime(2030, 2, 1, tzinfo=UTC))),
    ],
)
def test_each_threshold_acts_from_its_amount_on(spent: int, expected: Standing) -> None:
    found = budget((50, "notify"), (80, "lower_priority"), (100, "refuse_gpu"), (150, "refuse"))
    assert budgets.standing([(found, spent)], now=NOW) == expected


def test_of_several_budgets_all_act_and_the_first_end_counts() -> None:
    found = [
        (budget((100, "refuse"), period="total"), 1000),
        (budget((1, "lower_priority"), period="month"), 10),
        (budget((1, "refuse_gpu")), 10),
        (budget((100, "refuse")), 999),
    ]
    assert budgets.standing(found, now=NOW) == Standing(
        True, True, True, datetime(2030, 2, 1, tzinfo=UTC)
    )
    (total, *_) = found
    assert budgets.standing([total], now=NOW) == Standing(over=True, until=None)


@given(st.integers(1, 10**18), st.integers(1, 1000), st.integers(0, 10**19))
def test_a_threshold_is_reached_exactly_from_its_share_on(
    limit: int, percent: int, spent: int
) -> None:
    found = budget((percent, "refuse"), limit=limit)
    assert bool(found.reached(spent)) is (spent * 100 >= limit * percent)
    amount = found.refused_from_nano
    assert amount is not None
    assert found.reached(amount)
    assert not found.reached(amount - 1)


def test_a_budget_that_refuses_nothing_has_no_such_amount() -> None:
    assert budget((50, "notify"), (100, "refuse_gpu")).refused_from_nano is None
    assert budget((200, "refuse"), (120, "refuse")).refused_from_nano == 1200
