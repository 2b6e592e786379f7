"""Budgets of keys and tiers: counted by UTC's days and months, announced when they are spent."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import update

from dormouse_control.identity.models import Period
from dormouse_control.tiers.models import Tier
from dormouse_control.usage import budgets

COST = 10 * 200 + 5 * 600  # of the fixture's event, in billionths


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


@pytest.fixture
def account(installation: Any) -> Any:
    found = installation.sign_up()
    found.post("/api/v1/entitlements", {"service": "chat"})
    return found


def key(account: Any, times: int, period: str = "day") -> Any:
    """A key for so many of the fixture's calls."""
    budget = {"amount": times * COST / 10**9, "period": period}
    answer = account.post("/api/v1/keys", {"name": "limited", "budget": budget})
    assert answer.status_code == 201, answer.text
    return answer.json()


def principal(installation: Any, secret: str) -> Any:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    question = {"kind": "key", "sha256": digest}
    return installation.internal.post("/internal/v1/principals", json=question).json()


def news(installation: Any) -> list[tuple[str, str]]:
    items = installation.internal.get("/internal/v1/revocations?after=0").json()["items"]
    return [(item["kind"], item["id"]) for item in items]


@pytest.fixture
def book(
    installation: Any, account: Any, usage_event: Callable[..., Any], clock: Any
) -> Callable[..., None]:
    numbers = iter(range(1000))

    def call(credential: str, times: int = 1) -> None:
        time = clock().isoformat().replace("+00:00", "Z")
        events = [
            usage_event(account.id, f"req-{next(numbers)}", credential=credential, time=time)
            for _ in range(times)
        ]
        answer = installation.internal.post("/internal/v1/events", json={"events": events})
        assert answer.json()["accepted"] == times, answer.text

    return call


def test_a_keys_budget_is_over_when_its_calls_have_spent_it(
    installation: Any, account: Any, book: Any, clock: Any
) -> None:
    limited, other = key(account, 2), key(account, 2)
    book(limited["id"])
    before = news(installation)
    assert not principal(installation, limited["key"])["over_budget"]
    book(limited["id"])
    assert news(installation) == [*before, ("key", limited["id"])]
    found = principal(installation, limited["key"])
    assert found["over_budget"]
    assert found["asked_again_at"] == int(datetime(2030, 1, 2, tzinfo=UTC).timestamp())
    assert not principal(installation, other["key"])["over_budget"]
    book(limited["id"])
    assert len(news(installation)) == len(before) + 1  # told once is enough
    clock.advance(days=1)
    assert not principal(installation, limited["key"])["over_budget"]


def test_a_total_budget_stays_over_until_it_is_raised(
    installation: Any, account: Any, book: Any, clock: Any
) -> None:
    limited = key(account, 1, "total")
    book(limited["id"], times=2)
    clock.advance(days=400)
    found = principal(installation, limited["key"])
    assert (found["over_budget"], found["asked_again_at"]) == (True, None)


def test_a_tiers_budget_holds_over_all_credentials(
    installation: Any, account: Any, book: Any
) -> None:
    with installation.platform.database.sessions.begin() as session:
        session.execute(update(Tier).values(monthly_budget_nano=2 * COST))
    one, other = account.key(), account.key()
    book(one["id"])
    book("ses_x")
    assert news(installation)[-1] == ("user", account.id)
    found = principal(installation, other["key"])
    assert found["over_budget"]
    assert found["asked_again_at"] == int(datetime(2030, 2, 1, tzinfo=UTC).timestamp())


def test_two_batches_that_only_together_spend_a_budget_announce_it(
    installation: Any, account: Any, book: Any, at_once: Any
) -> None:
    limited = key(account, 8)
    before = len(news(installation))
    at_once(8, lambda: book(limited["id"]))
    assert news(installation)[before:] == [("key", limited["id"])]


def test_a_repeated_report_spends_nothing(
    installation: Any, account: Any, usage_event: Callable[..., Any]
) -> None:
    limited = key(account, 2)
    event = usage_event(account.id, "req-same", credential=limited["id"])
    for _ in range(3):
        installation.internal.post("/internal/v1/events", json={"events": [event]})
    assert not principal(installation, limited["key"])["over_budget"]
