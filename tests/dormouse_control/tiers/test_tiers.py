"""Tiers and their limits."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from fixtures.control_plane import Account

GOLD = {
    "title": "Gold",
    "highest_priority": 1,
    "requests_per_minute": 600,
    "tokens_per_minute": 50_000,
    "concurrent_calls": 8,
    "queued_calls": 4,
    "max_body_mb": 2,
    "most_keys": 5,
    "monthly_budget": 0.000000001,
}


def test_a_tier_is_made_changed_and_deleted(ada: Account, administrator: Account) -> None:
    made = administrator.put("/api/v1/tiers/gold", GOLD)
    assert made.status_code == 201
    assert made.json() == GOLD | {"id": "gold", "created_at": "2030-01-01T00:00:00Z"}
    assert [tier["id"] for tier in ada.get("/api/v1/tiers").json()["items"]] == [
        "gold",
        "standard",
    ]

    changed = administrator.put("/api/v1/tiers/gold", {"title": "Plain"})
    assert changed.status_code == 200
    assert (changed.json()["monthly_budget"], changed.json()["most_keys"]) == (None, 100)

    assert administrator.delete("/api/v1/tiers/gold").status_code == 204
    assert administrator.delete("/api/v1/tiers/gold").status_code == 404


def test_the_first_tier_and_those_in_use_stay(ada: Account, administrator: Account) -> None:
    administrator.put("/api/v1/tiers/gold", GOLD)
    administrator.patch(f"/api/v1/users/{ada.id}", {"tier": "gold"})

    for tier in ("standard", "gold"):
        refused = administrator.delete(f"/api/v1/tiers/{tier}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    administrator.patch(f"/api/v1/users/{ada.id}", {"tier": "standard"})
    assert administrator.delete("/api/v1/tiers/gold").status_code == 204


def test_new_limits_are_announced_to_every_user_of_the_tier(
    ada: Account, administrator: Account, internal: TestClient
) -> None:
    administrator.put("/api/v1/tiers/standard", {"title": "Standard", "requests_per_minute": 9})

    items = internal.get("/internal/v1/revocations?after=0").json()["items"]
    assert [(item["kind"], item["id"], item["cuts"]) for item in items] == [
        ("user", id, False) for id in sorted([ada.id, administrator.id])
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"highest_priority": 3},
        {"highest_priority": -1},
        {"highest_priority": True},
        {"requests_per_minute": 0},
        {"tokens_per_minute": 0},
        {"tokens_per_minute": 2**31},
        {"tokens_per_minute": 1.0},
        {"concurrent_calls": 0},
        {"concurrent_calls": -1},
        {"queued_calls": 0},
        {"max_body_mb": 0},
        {"max_body_mb": 1025},
        {"max_body_mb": "1"},
        {"most_keys": -1},
        {"monthly_budget": 0},
        {"monthly_budget": "1"},
        {"monthly_budget": 1e300},
        {"title": ""},
        {"id": "silver"},
        {"monthly_budget_nano": 1},
    ],
)
def test_bad_tiers_are_refused(administrator: Account, change: dict[str, Any]) -> None:
    assert administrator.put("/api/v1/tiers/gold", GOLD | change).status_code == 422


def test_bad_names_are_refused(administrator: Account) -> None:
    for name in ("Gold", "a" * 33, "-x", "x.y"):
        assert administrator.put(f"/api/v1/tiers/{name}", GOLD).status_code == 422


def test_what_changed_is_in_the_log(administrator: Account, audited: Any) -> None:
    administrator.put("/api/v1/tiers/gold", GOLD)
    administrator.delete("/api/v1/tiers/gold")

    assert [(e.action, e.subject) for e in audited() if e.action.startswith("tier.")] == [
        ("tier.put", "gold"),
        ("tier.delete", "gold"),
    ]
