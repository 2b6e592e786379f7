"""Who has access to what."""

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from dormouse_control.access.tabular import cell
from dormouse_control.identity.models import Role
from fixtures.control_plane import Account


def test_every_right_is_a_row_with_its_reason_and_use(
    ada: Account,
    administrator: Account,
    internal: TestClient,
    usage_event: Callable[..., Any],
    clock: Any,
) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    clock.advance(seconds=5)
    group = administrator.post("/api/v1/groups", {"name": "Painters"}).json()["id"]
    given = {"expires_at": "2031-01-01T00:00:00Z", "reason": "art"}
    administrator.put(f"/api/v1/groups/{group}/entitlements/draw", given)
    clock.advance(seconds=5)
    administrator.put(f"/api/v1/groups/{group}/members/{ada.id}", None)
    internal.post("/internal/v1/events", json={"events": [usage_event(ada.id)]})
    ada.key()

    rows = administrator.get("/api/v1/access").json()["items"]

    person = {
        "user": ada.id,
        "email": "ada@example.org",
        "role": "user",
        "tier": "standard",
        "status": "active",
        "keys": 1,
    }
    assert rows == [
        person
        | {
            "service": "chat",
            "through": "own",
            "group": None,
            "expires_at": None,
            "granted_by": None,
            "granted_at": "2030-01-01T00:00:00Z",
            "reason": None,
            "last_used_at": "2030-01-01T00:00:00.500000Z",
        },
        person
        | {
            "service": "draw",
            "through": "Painters",
            "group": group,
            "expires_at": "2031-01-01T00:00:00Z",
            "granted_by": administrator.id,
            "granted_at": "2030-01-01T00:00:10Z",
            "reason": "art",
            "last_used_at": None,
        },
    ]


def test_what_is_no_right_is_no_row(
    ada: Account, administrator: Account, clock: Any, sign_up: Callable[..., Account]
) -> None:
    ada.post("/api/v1/entitlements", {"service": "draw"})
    bob = sign_up("bob@example.org")
    end = {"expires_at": "2030-01-01T00:01:00Z"}
    administrator.put(f"/api/v1/users/{bob.id}/entitlements/draw", end)
    assert len(administrator.get("/api/v1/access").json()["items"]) == 1
    clock.advance(minutes=1)

    assert administrator.get("/api/v1/access").json()["items"] == []


def test_only_keys_that_can_call_the_service_count(ada: Account, administrator: Account) -> None:
    for service in ("chat", "draw"):
        administrator.put(f"/api/v1/users/{ada.id}/entitlements/{service}", {})
    ada.key("all")
    for more in ({"services": ["chat"]}, {"models": ["small"]}):
        assert ada.post("/api/v1/keys", {"name": "k"} | more).status_code == 201
    revoked = ada.key("old")["id"]
    ada.delete(f"/api/v1/keys/{revoked}")

    rows = administrator.get("/api/v1/access").json()["items"]
    assert {row["service"]: row["keys"] for row in rows} == {"chat": 3, "draw": 1}
    administrator.patch(f"/api/v1/users/{ada.id}", {"status": "disabled"})
    rows = administrator.get("/api/v1/access").json()["items"]
    assert [(row["status"], row["keys"]) for row in rows] == [("disabled", 0)] * 2


def test_filters(
    sign_up: Callable[..., Account],
    administrator: Account,
    internal: TestClient,
    usage_event: Callable[..., Any],
    clock: Any,
) -> None:
    ada, bob = sign_up("ada@example.org"), sign_up("bob@example.org")
    for user in (ada, bob):
        for service in ("chat", "draw"):
            administrator.put(f"/api/v1/users/{user.id}/entitlements/{service}", {})
    internal.post("/internal/v1/events", json={"events": [usage_event(ada.id)]})
    clock.advance(minutes=5)

    def found(query: str) -> set[tuple[str, str]]:
        rows = administrator.get(f"/api/v1/access?{query}").json()["items"]
        return {(row["email"][:3], row["service"]) for row in rows}

    assert found(f"user={ada.id}") == {("ada", "chat"), ("ada", "draw")}
    assert found("service=draw") == {("ada", "draw"), ("bob", "draw")}
    assert found("unused_days=1") == {("ada", "draw"), ("bob", "chat"), ("bob", "draw")}
    assert found("unused_days=0&service=chat") == {("ada", "chat"), ("bob", "chat")}
    assert found("user=usr_x") == set()


def test_the_review_is_read_page_by_page_and_as_csv_with_the_same_rows(
    sign_up: Callable[..., Account], administrator: Account, with_role: Callable[..., Account]
) -> None:
    operator = with_role(Role.OPERATOR)
    group = administrator.post("/api/v1/groups", {"name": "=HYPERLINK(1)"}).json()["id"]
    administrator.put(f"/api/v1/groups/{group}/entitlements/draw", {"reason": "@SUM(1)"})
    for number in range(4):
        user = sign_up(f"=u{number}@example.org")
        administrator.put(f"/api/v1/groups/{group}/members/{user.id}", None)
        user.post("/api/v1/entitlements", {"service": "chat"})

    rows, after = [], ""
    while after is not None:
        page = operator.get(f"/api/v1/access?limit=3{after and '&after=' + after}").json()
        rows += page["items"]
        after = page["next"]
    answer = operator.get("/api/v1/access?format=csv")

    assert len(rows) == 8
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="access.csv"'
    assert answer.headers["cache-control"] == "no-store"
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(line["user"], line["service"]) for line in lines] == [
        (row["user"], row["service"]) for row in rows
    ]
    by_group = next(line for line in lines if line["group"])
    assert by_group["email"] == "'=u0@example.org"
    assert by_group["through"] == "'=HYPERLINK(1)"
    assert by_group["reason"] == "'@SUM(1)"


@pytest.mark.parametrize("start", [*"=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"])
def test_no_cell_is_a_formula(start: str) -> None:
    assert cell(f"{start}1+1") == f"'{start}1+1"
    assert cell(f"a{start}") == f"a{start}"
    assert cell(f"a;{start}1") == f"a;'{start}1"


def test_users_may_not_review(ada: Account) -> None:
    assert ada.get("/api/v1/access").status_code == 403
    assert ada.get("/api/v1/access?format=csv").status_code == 403
