"""What waits for a decision."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import update

from dormouse_control.identity.models import Role, User, UserStatus
from dormouse_control.wiring import Platform
from fixtures.control_plane import Account


def test_what_waits_is_listed_oldest_first_and_page_by_page(
    sign_up: Callable[..., Account],
    with_role: Callable[..., Account],
    platform: Platform,
    clock: Any,
) -> None:
    ada, bob = sign_up("ada@example.org"), sign_up("bob@example.org")
    operator = with_role(Role.OPERATOR)
    clock.advance(seconds=5)
    ada.post("/api/v1/entitlements", {"service": "draw", "reason": "I paint"})
    ada.post("/api/v1/entitlements", {"service": "chat"})
    clock.advance(seconds=5)
    operator.post("/api/v1/entitlements", {"service": "draw"})
    with platform.database.sessions.begin() as session:
        session.execute(update(User).where(User.id == bob.id).values(status=UserStatus.PENDING))

    pages, after = [], ""
    while after is not None:
        page = operator.get(f"/api/v1/approvals?limit=1{after and '&after=' + after}").json()
        pages += page["items"]
        after = page["next"]

    assert pages == [
        {
            "kind": "account",
            "user": bob.id,
            "email": "bob@example.org",
            "service": None,
            "reason": None,
            "created_at": "2030-01-01T00:00:00Z",
        },
        {
            "kind": "entitlement",
            "user": ada.id,
            "email": "ada@example.org",
            "service": "draw",
            "reason": "I paint",
            "created_at": "2030-01-01T00:00:05Z",
        },
        {
            "kind": "entitlement",
            "user": operator.id,
            "email": "operator@example.org",
            "service": "draw",
            "reason": None,
            "created_at": "2030-01-01T00:00:10Z",
        },
    ]


def test_what_is_decided_waits_no_more(ada: Account, administrator: Account) -> None:
    ada.post("/api/v1/entitlements", {"service": "draw"})
    assert len(administrator.get("/api/v1/approvals").json()["items"]) == 1

    administrator.put(f"/api/v1/users/{ada.id}/entitlements/draw", {})

    assert administrator.get("/api/v1/approvals").json()["items"] == []
