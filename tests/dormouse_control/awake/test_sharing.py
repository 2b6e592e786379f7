"""A predictor's idle time becomes its calls', to the millisecond and once, whoever is killed."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from dormouse_control import housekeeping
from dormouse_control.awake import operations
from dormouse_control.awake.models import AwakePeriod
from dormouse_control.usage.models import UsageEntry
from dormouse_control.wiring import Platform

INSTANCE, OTHER = "a" * 32, "b" * 32
WOKE = 1_893_456_000_000  # 2030-01-01

Answered = Callable[..., None]


@pytest.fixture
def answered(platform: Platform, ada: Any) -> Answered:
    """Books calls of a predictor, by how long each computed (ms)."""

    def book(computed: Sequence[int], *, by: str | None = INSTANCE, load_ms: int = 0) -> None:
        with platform.database.sessions.begin() as session:
            number = session.scalar(select(func.count()).select_from(UsageEntry)) or 0
            for at, ms in enumerate(computed, start=number):
                session.add(call(ada.id, f"req-{at}", ms, by, load_ms))

    return book


def call(user: str, id: str, ms: int, predictor: str | None, load_ms: int) -> UsageEntry:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    numbers = ("prompt_tokens", "completion_tokens", "duration_ms", "queue_ms", "cold_start_ms")
    return UsageEntry(
        request_id=id,
        time=now,
        user_id=user,
        credential="key_1",
        service="chat",
        model="small",
        endpoint="completions",
        outcome="completed",
        cost_nano=0,
        received_at=now,
        compute_ms=ms,
        load_ms=load_ms,
        predictor=predictor,
        **dict.fromkeys(numbers, 0),
    )


def report(internal: Any, lasted: int, instance: str = INSTANCE) -> Any:
    period = {
        "instance": instance,
        "service": "chat",
        "gpus": 0,
        "woke": WOKE,
        "ended": WOKE + lasted,
        "load_ms": 5,
    }
    answer = internal.post("/internal/v1/periods", json={"periods": [period]})
    assert answer.status_code == 200, answer.text
    return answer.json()


def shares(platform: Platform, instance: str | None = INSTANCE) -> list[int | None]:
    with platform.database.reads() as reading:
        wanted = select(UsageEntry.idle_ms).where(UsageEntry.predictor == instance)
        return list(reading.scalars(wanted.order_by(UsageEntry.id)))


@pytest.mark.parametrize(
    ("computed", "lasted", "expected"),
    [
        ([100, 300], 1400, [250, 750]),
        ([1, 1, 1], 13, [3, 3, 4]),
        ([0, 10, 0], 60, [0, 50, 0]),
        ([0, 0, 0], 10, [3, 3, 4]),
        ([500, 600], 1000, [0, 0]),  # computing at the same time
        ([7], 7, [0]),
        ([], 1000, []),
    ],
)
def test_idle_time_goes_to_who_computed(
    internal: Any,
    platform: Platform,
    answered: Answered,
    computed: list[int],
    lasted: int,
    expected: list[int],
) -> None:
    answered(computed)
    report(internal, lasted)
    assert shares(platform) == expected


def test_loading_for_a_call_is_not_idle(
    internal: Any, platform: Platform, answered: Answered
) -> None:
    answered([100], load_ms=400)
    report(internal, 1000)
    assert shares(platform) == [500]


def test_calls_of_other_predictors_get_nothing_and_late_ones_neither(
    internal: Any, platform: Platform, answered: Answered
) -> None:
    answered([10])
    answered([10], by=OTHER)
    answered([10], by=None)
    report(internal, 100)
    answered([10])
    report(internal, 100)
    assert shares(platform) == [90, None]
    assert shares(platform, OTHER) == [None]


def test_a_period_is_shared_once_however_often_it_is_told(
    internal: Any, platform: Platform, answered: Answered
) -> None:
    answered([10, 30])
    assert report(internal, 100) == {"accepted": 1, "duplicates": 0}
    assert report(internal, 900) == {"accepted": 0, "duplicates": 1}
    assert shares(platform) == [15, 45]


def test_shares_make_up_the_whole_in_whatever_steps(
    internal: Any, platform: Platform, answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "STEP", 7)
    chance = random.Random(5)  # noqa: S311  only has to be the same every time
    computed = [chance.choice([0, 1, 17, 5000]) for _ in range(100)]
    answered(computed)
    lasted = sum(computed) + 12_347
    report(internal, lasted)
    found = [each or 0 for each in shares(platform)]
    assert sum(found) == 12_347
    exact = [12_347 * ms / sum(computed) for ms in computed]
    assert all(abs(one - other) < 1 for one, other in zip(found, exact, strict=True))


def test_whoever_is_killed_between_is_gone_on_from(
    internal: Any, platform: Platform, answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "STEP", 2)
    answered([10, 20, 30, 40, 0])
    share_all, step, steps = operations.share_all, operations._step, []

    def killed(*args: Any, **more: Any) -> None:
        step(*args, **more)
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(operations, "share_all", lambda *_, **__: 0)
        report(internal, 1100)
        patched.setattr(operations, "_step", killed)
        with pytest.raises(KeyboardInterrupt):
            share_all(platform.database.sessions, now=platform.clock())
    assert shares(platform) == [100, 200, None, None, None]
    answered([50])  # too late
    housekeeping.tend(platform)
    assert shares(platform) == [100, 200, 300, 400, 0, None]
    with platform.database.reads() as reading:
        period = reading.get_one(AwakePeriod, INSTANCE)
    assert (period.calls, period.computed_ms, period.idle_ms) == (5, 100, 1000)
    assert period.ended - period.woke == timedelta(milliseconds=1100)
    assert operations.share_all(platform.database.sessions, now=platform.clock()) == 0


@pytest.mark.parametrize(
    "wrong",
    [{"instance": "x"}, {"woke": -1}, {"ended": 2**45}, {"load_ms": "1"}, {"service": "a\x00"}],
)
def test_what_is_no_period_is_refused(internal: Any, wrong: dict[str, Any]) -> None:
    period = {
        "instance": INSTANCE,
        "service": "chat",
        "gpus": 0,
        "woke": WOKE,
        "ended": WOKE,
        "load_ms": 0,
    }
    answer = internal.post("/internal/v1/periods", json={"periods": [{**period, **wrong}]})
    assert answer.status_code == 422


def test_a_clock_that_went_back_makes_no_time(
    internal: Any, platform: Platform, answered: Answered
) -> None:
    answered([5])
    report(internal, -100)
    assert shares(platform) == [0]
