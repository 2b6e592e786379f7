from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

CREATED = {"created_at": "2030-01-01T00:00:00Z"}
OWN = {"by": "own", "group": None, "expires_at": None, "reason": None} | CREATED


def test_an_open_service_is_given_at_once(ada: Any) -> None:
    answer = ada.post("/api/v1/entitlements", {"service": "chat"})

    assert answer.status_code == 201
    assert answer.json() == {"service": "chat", "status": "active"} | OWN


def test_a_service_that_needs_approval_is_pending_and_not_callable(
    ada: Any, internal: TestClient
) -> None:
    answer = ada.post("/api/v1/entitlements", {"service": "draw", "reason": "I paint"})

    expected = {"service": "draw", "status": "pending", "reason": "I paint"}
    assert answer.json() == OWN | expected
    principal = _principal(internal, ada)
    assert principal["entitlements"] == {}
    assert ada.get("/api/v1/services/draw").json()["entitled"] is False


def test_asking_again_answers_what_one_has(ada: Any, internal: TestClient, clock: Any) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    clock.advance(seconds=5)

    again = ada.post("/api/v1/entitlements", {"service": "chat"})

    assert again.status_code == 200
    assert again.json()["created_at"] == CREATED["created_at"]
    assert len(internal.get("/internal/v1/revocations?after=0").json()["items"]) == 1


def test_asking_many_times_at_once_gives_one(
    installation: Any, at_once: Callable[..., list[Any]]
) -> None:
    ada = installation.sign_up()
    answers = at_once(16, lambda: ada.post("/api/v1/entitlements", {"service": "chat"}))

    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    assert len(ada.get("/api/v1/entitlements").json()["items"]) == 1


def test_entitlements_are_listed_by_service_and_only_ones_own(
    ada: Any, sign_up: Callable[..., Any]
) -> None:
    for service in ("draw", "chat"):
        ada.post("/api/v1/entitlements", {"service": service})

    listed = ada.get("/api/v1/entitlements").json()

    assert [item["service"] for item in listed["items"]] == ["chat", "draw"]
    assert listed["next"] is None
    assert sign_up("bob@example.org").get("/api/v1/entitlements").json()["items"] == []


def test_giving_up_takes_the_right_and_is_announced(ada: Any, internal: TestClient) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    assert list(_principal(internal, ada)["entitlements"]) == ["chat"]

    assert ada.delete("/api/v1/entitlements/chat").status_code == 204

    assert list(_principal(internal, ada)["entitlements"]) == []
    items = internal.get("/internal/v1/revocations?after=0").json()["items"]
    assert [(item["kind"], item["id"]) for item in items] == [("user", ada.id)] * 2
    assert (items[-1]["service"], items[-1]["cuts"]) == ("chat", True)
    assert ada.delete("/api/v1/entitlements/chat").status_code == 404


def test_giving_up_leaves_other_users_entitled(ada: Any, sign_up: Callable[..., Any]) -> None:
    bob = sign_up("bob@example.org")
    for user in (ada, bob):
        user.post("/api/v1/entitlements", {"service": "chat"})
    ada.delete("/api/v1/entitlements/chat")

    assert len(bob.get("/api/v1/entitlements").json()["items"]) == 1


def test_an_unknown_service_is_not_found(ada: Any) -> None:
    answer = ada.post("/api/v1/entitlements", {"service": "nope"})

    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("not_found", "service")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"service": 1},
        {"service": "chat", "status": "active"},
        {"service": "chat", "expires_at": None},
        {"service": "draw", "reason": "x" * 501},
        {"service": "draw", "reason": "\x00"},
        [],
    ],
)
def test_bad_bodies_are_refused(ada: Any, body: object) -> None:
    assert ada.post("/api/v1/entitlements", body).status_code == 422


def test_entitlements_need_credentials(client: TestClient) -> None:
    assert client.get("/api/v1/entitlements").status_code == 401
    assert client.post("/api/v1/entitlements", json={"service": "chat"}).status_code == 401
    assert client.delete("/api/v1/entitlements/chat").status_code == 401


def test_who_was_refused_may_ask_again(ada: Any, administrator: Any) -> None:
    ada.post("/api/v1/entitlements", {"service": "draw"})
    refusal = f"/api/v1/users/{ada.id}/entitlements/draw/refuse"
    assert administrator.post(refusal, {"reason": "not yet"}).json()["status"] == "refused"
    (refused,) = ada.get("/api/v1/entitlements").json()["items"]
    assert (refused["status"], refused["reason"]) == ("refused", "not yet")

    again = ada.post("/api/v1/entitlements", {"service": "draw", "reason": "please"})

    assert again.status_code == 201
    assert (again.json()["status"], again.json()["reason"]) == ("pending", "please")


def test_what_has_expired_is_no_right_and_begins_anew_by_asking(
    ada: Any, administrator: Any, internal: TestClient, clock: Any
) -> None:
    path = f"/api/v1/users/{ada.id}/entitlements/draw"
    administrator.put(path, {"expires_at": "2030-01-01T00:05:00Z"})
    assert list(_principal(internal, ada)["entitlements"]) == ["draw"]
    clock.advance(minutes=5)

    assert list(_principal(internal, ada)["entitlements"]) == []
    assert ada.get("/api/v1/entitlements").json()["items"][0]["status"] == "expired"
    again = ada.post("/api/v1/entitlements", {"service": "draw"})
    assert (again.status_code, again.json()["status"]) == (201, "pending")
    assert again.json()["expires_at"] is None


def test_what_comes_from_a_group_is_shown_and_cannot_be_given_up(
    ada: Any, administrator: Any, internal: TestClient
) -> None:
    group = administrator.post("/api/v1/groups", {"name": "Painters"}).json()["id"]
    administrator.put(f"/api/v1/groups/{group}/members/{ada.id}", None)
    administrator.put(f"/api/v1/groups/{group}/entitlements/draw", {"reason": "art class"})

    (item,) = ada.get("/api/v1/entitlements").json()["items"]
    assert item == OWN | {
        "service": "draw",
        "status": "active",
        "by": "group",
        "group": "Painters",
        "reason": "art class",
    }
    refused = ada.delete("/api/v1/entitlements/draw")
    assert refused.status_code == 409
    assert "'Painters'" in refused.json()["error"]["message"]
    assert list(_principal(internal, ada)["entitlements"]) == ["draw"]


def test_giving_up_what_a_group_gives_too_cuts_nothing(
    ada: Any, administrator: Any, internal: TestClient
) -> None:
    group = administrator.post("/api/v1/groups", {"name": "Talkers"}).json()["id"]
    administrator.put(f"/api/v1/groups/{group}/members/{ada.id}", None)
    administrator.put(f"/api/v1/groups/{group}/entitlements/chat", {})
    ada.post("/api/v1/entitlements", {"service": "chat"})

    assert ada.delete("/api/v1/entitlements/chat").status_code == 204

    last = internal.get("/internal/v1/revocations?after=0").json()["items"][-1]
    assert (last["service"], last["cuts"]) == ("chat", False)


def _principal(internal: TestClient, user: Any) -> Any:
    session = user.refresh_token.split(".")[0]
    question = {"kind": "session", "user": user.id, "session": session}
    return internal.post("/internal/v1/principals", json=question).json()
