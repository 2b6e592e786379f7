"""Budgets over HTTP: who sets and sees what, and that they end with what they are for."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from dormouse_control.budgets.models import BudgetNotice, SetBudget
from dormouse_control.identity.models import Role
from dormouse_control.wiring import Platform
from fixtures.control_plane import Account

COST = 5000 / 10**9  # of the fixture's event
DEFAULT = [
    {"at_percent": 80, "action": "notify", "reached": False},
    {"at_percent": 100, "action": "refuse", "reached": False},
]


@pytest.fixture
def group(administrator: Account, ada: Account) -> str:
    """With ada in it."""
    made: str = administrator.post("/api/v1/groups", {"name": "painters"}).json()["id"]
    administrator.put(f"/api/v1/groups/{made}/members/{ada.id}", None)
    return made


@pytest.fixture
def book(internal: TestClient, usage_event: Callable[..., Any]) -> Callable[..., None]:
    numbers = iter(range(1000))

    def call(account: Account, **changes: Any) -> None:
        event = usage_event(account.id, f"req-{next(numbers)}", **changes)
        answer = internal.post("/internal/v1/events", json={"events": [event]})
        assert answer.json()["accepted"] == 1, answer.text

    return call


def put(account: Account, subject: str, period: str = "month", **body: Any) -> Any:
    return account.put(f"/api/v1/budgets/{subject}/{period}", {"limit": 2 * COST} | body)


def rows(platform: Platform) -> tuple[int, int]:
    """How many budgets are set, and how many thresholds were told."""
    with platform.database.reads() as reading:
        counts = [reading.scalar(select(func.count()).select_from(SetBudget))]
        counts.append(reading.scalar(select(func.count()).select_from(BudgetNotice)))
    return counts[0] or 0, counts[1] or 0


def test_a_budget_is_set_changed_seen_and_taken_away(
    ada: Account, administrator: Account, book: Any
) -> None:
    made = put(administrator, ada.id)
    assert made.status_code == 201
    expected = {
        "subject": "user",
        "subject_id": ada.id,
        "name": None,
        "source": "budget",
        "period": "month",
        "limit": 2 * COST,
        "spent": 0.0,
        "left": 2 * COST,
        "renews_at": "2030-02-01T00:00:00Z",
        "thresholds": DEFAULT,
    }
    assert made.json() == expected
    book(ada)
    shown = ada.get("/api/v1/me/budgets").json()
    assert shown == {"items": [expected | {"spent": COST, "left": COST}], "currency": "USD"}
    thresholds = [
        {"at_percent": 50, "action": "refuse_gpu"},
        {"at_percent": 10, "action": "notify"},
    ]
    changed = put(administrator, ada.id, limit=COST, thresholds=thresholds)
    assert changed.status_code == 200
    assert (changed.json()["left"], changed.json()["spent"]) == (0, COST)
    assert changed.json()["thresholds"] == [
        {"at_percent": 10, "action": "notify", "reached": True},
        {"at_percent": 50, "action": "refuse_gpu", "reached": True},
    ]
    path = f"/api/v1/budgets/{ada.id}/month"
    assert administrator.delete(path).status_code == 204
    assert administrator.delete(path).status_code == 404
    assert ada.get("/api/v1/me/budgets").json()["items"] == []


def test_everybody_sees_all_that_their_calls_count_on(
    ada: Account, administrator: Account, group: str
) -> None:
    budget = {"amount": 1, "period": "total"}
    key = ada.post("/api/v1/keys", {"name": "laptop", "budget": budget}).json()
    administrator.put("/api/v1/tiers/standard", {"title": "x", "monthly_budget": 9})
    for subject in (ada.id, key["id"], group):
        put(administrator, subject)
    found = ada.get("/api/v1/me/budgets").json()["items"]

    assert {(each["source"], each["subject"], each["name"], each["period"]) for each in found} == {
        ("tier", "user", None, "month"),
        ("key", "key", "laptop", "total"),
        ("budget", "user", None, "month"),
        ("budget", "key", "laptop", "month"),
        ("budget", "group", "painters", "month"),
    }
    others = administrator.get("/api/v1/me/budgets").json()["items"]
    assert [each["source"] for each in others] == ["tier"]


def test_operators_see_those_of_everybody_and_set_none(
    ada: Account, administrator: Account, with_role: Callable[..., Account], group: str
) -> None:
    operator = with_role(Role.OPERATOR)
    for subject, period in ((ada.id, "day"), (group, "month"), (ada.id, "total")):
        put(administrator, subject, period)
    pages, after = [], ""
    for _ in range(3):
        page = operator.get(f"/api/v1/budgets?limit=1{after}").json()
        pages.append([(each["subject_id"], each["period"]) for each in page["items"]])
        after = f"&after={page['next']}"
    assert pages == [[(ada.id, "day")], [(group, "month")], [(ada.id, "total")]]
    assert page["next"] is None
    of_ada = operator.get(f"/api/v1/budgets/{ada.id}").json()["items"]
    assert [each["period"] for each in of_ada] == ["day", "total"]
    assert put(operator, ada.id).status_code == 403
    assert operator.delete(f"/api/v1/budgets/{ada.id}/day").status_code == 403


def test_a_budget_is_for_something_that_there_is(ada: Account, administrator: Account) -> None:
    revoked = ada.key()["id"]
    ada.delete(f"/api/v1/keys/{revoked}")
    missing = [f"{kind}_{'0' * 26}" for kind in ("usr", "key", "grp", "ses")]
    for subject in (revoked, "ada", "usr", *missing):
        for answer in (
            put(administrator, subject),
            administrator.get(f"/api/v1/budgets/{subject}"),
            administrator.delete(f"/api/v1/budgets/{subject}/month"),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    wrong = put(administrator, ada.id, "week")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (422, "period")


def test_budgets_end_with_what_they_are_for(
    ada: Account, administrator: Account, group: str, platform: Platform, book: Any
) -> None:
    key = ada.key()["id"]
    for subject in (ada.id, key, group):
        put(administrator, subject, limit=COST)
    book(ada, credential=key)
    assert rows(platform) == (3, 6)
    administrator.delete(f"/api/v1/groups/{group}")
    assert rows(platform) == (2, 4)
    ada.delete(f"/api/v1/keys/{key}")
    assert rows(platform) == (1, 2)
    ada.key()
    assert administrator.delete(f"/api/v1/users/{ada.id}").status_code == 204
    assert rows(platform) == (0, 0)


def test_changes_are_announced_and_in_the_log(
    ada: Account, administrator: Account, internal: TestClient, audited: Any, group: str
) -> None:
    key = ada.key()["id"]

    def news() -> list[tuple[str, str, bool]]:
        items = internal.get("/internal/v1/revocations?after=0").json()["items"]
        return [(item["kind"], item["id"], item["cuts"]) for item in items]

    before = len(news())
    for subject in (ada.id, key, group):
        put(administrator, subject)
        administrator.delete(f"/api/v1/budgets/{subject}/month")
    expected = [("user", ada.id), ("key", key), ("user", ada.id)]
    assert news()[before:] == [(*each, False) for each in expected for _ in range(2)]
    entries = [entry for entry in audited() if entry.action.startswith("budget.")]
    assert [(entry.action, entry.subject) for entry in entries] == [
        (action, subject)
        for subject in (ada.id, key, group)
        for action in ("budget.put", "budget.delete")
    ]
    assert '"thresholds": ["notify 80", "refuse 100"]' in entries[0].details
    assert {entry.actor for entry in entries} == {administrator.id}
