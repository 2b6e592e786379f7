"""What others decide about a user's entitlements."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from dormouse_control.identity.models import Role
from fixtures.control_plane import Account

DRAW = "/api/v1/users/{}/entitlements/draw"


@pytest.fixture
def operator(with_role: Callable[..., Account]) -> Account:
    return with_role(Role.OPERATOR)


def test_an_administrator_grants_what_nobody_asked_for(
    ada: Account, administrator: Account, internal: TestClient
) -> None:
    body = {"expires_at": "2030-06-01T00:00:00+02:00", "reason": "project"}

    answer = administrator.put(DRAW.format(ada.id), body)

    assert answer.status_code == 200
    assert answer.json() == {
        "user": ada.id,
        "service": "draw",
        "status": "active",
        "created_at": "2030-01-01T00:00:00Z",
        "expires_at": "2030-05-31T22:00:00Z",
        "reason": "project",
        "decided_by": administrator.id,
        "decided_at": "2030-01-01T00:00:00Z",
    }
    assert ada.get("/api/v1/services/draw").json()["entitled"] is True
    last = internal.get("/internal/v1/revocations?after=0").json()["items"][-1]
    assert (last["kind"], last["id"], last["cuts"]) == ("user", ada.id, False)


def test_granting_again_changes_the_end(ada: Account, administrator: Account) -> None:
    administrator.put(DRAW.format(ada.id), {"expires_at": "2030-06-01T00:00:00Z"})

    assert administrator.put(DRAW.format(ada.id), {}).json()["expires_at"] is None
    assert len(ada.get("/api/v1/entitlements").json()["items"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"expires_at": "2030-01-01T00:00:00Z"},
        {"expires_at": "2031-01-01T00:00:00"},
        {"expires_at": 2000000000},
        {"status": "active"},
        {"decided_by": "usr_x"},
        {"reason": "x" * 501},
    ],
)
def test_bad_grants_are_refused(ada: Account, administrator: Account, body: Any) -> None:
    assert administrator.put(DRAW.format(ada.id), body).status_code == 422


def test_an_operator_decides_what_was_asked_for_and_nothing_else(
    ada: Account, operator: Account
) -> None:
    unasked = operator.put(DRAW.format(ada.id), {})
    assert (unasked.status_code, unasked.json()["error"]["code"]) == (403, "forbidden")
    ada.post("/api/v1/entitlements", {"service": "draw"})

    assert operator.put(DRAW.format(ada.id), {}).json()["status"] == "active"
    # Decided is decided: what is active now is an administrator's to change.
    assert operator.put(DRAW.format(ada.id), {}).status_code == 403
    assert operator.delete(DRAW.format(ada.id)).status_code == 403


def test_an_operator_does_not_decide_their_own_request(operator: Account) -> None:
    operator.post("/api/v1/entitlements", {"service": "draw"})

    assert operator.put(DRAW.format(operator.id), {}).status_code == 403
    assert operator.post(DRAW.format(operator.id) + "/refuse", {}).status_code == 403
    (item,) = operator.get("/api/v1/entitlements").json()["items"]
    assert item["status"] == "pending"


def test_only_who_waits_can_be_refused(ada: Account, administrator: Account) -> None:
    refusal = DRAW.format(ada.id) + "/refuse"
    assert administrator.post(refusal, {}).status_code == 404
    administrator.put(DRAW.format(ada.id), {})

    assert administrator.post(refusal, {}).status_code == 404
    assert ada.get("/api/v1/services/draw").json()["entitled"] is True


def test_taking_away_cuts_calls_on_this_service_and_is_in_the_log(
    ada: Account, administrator: Account, internal: TestClient, audited: Any
) -> None:
    administrator.put(DRAW.format(ada.id), {})

    answer = administrator.delete(DRAW.format(ada.id) + "?reason=project+is+over")

    assert answer.status_code == 204
    assert ada.get("/api/v1/entitlements").json()["items"] == []
    last = internal.get("/internal/v1/revocations?after=0").json()["items"][-1]
    assert (last["kind"], last["id"]) == ("user", ada.id)
    assert (last["service"], last["cuts"]) == ("draw", True)
    entry = audited()[-1]
    assert (entry.action, entry.actor) == ("entitlement.take_away", administrator.id)
    assert "project is over" in entry.details
    assert administrator.delete(DRAW.format(ada.id)).status_code == 404


def test_a_reason_that_stays_for_ever_holds_no_address(
    ada: Account, administrator: Account
) -> None:
    administrator.put(DRAW.format(ada.id), {})

    assert administrator.delete(DRAW.format(ada.id) + "?reason=a@b.c").status_code == 422


def test_unknown_users_and_services_are_not_found(ada: Account, administrator: Account) -> None:
    for path in (DRAW.format("usr_x"), DRAW.format(ada.id).replace("draw", "nope")):
        assert administrator.put(path, {}).status_code == 404
        assert administrator.delete(path).status_code == 404
        assert administrator.post(path + "/refuse", {}).status_code == 404


def test_of_many_decisions_at_once_one_is_taken(
    installation: Any, promote: Callable[..., None], at_once: Callable[..., list[Any]]
) -> None:
    operator, ada = installation.sign_up("o@example.org"), installation.sign_up()
    promote(installation.platform, operator, Role.OPERATOR)
    ada.post("/api/v1/entitlements", {"service": "draw"})

    answers = at_once(8, lambda: operator.put(DRAW.format(ada.id), {}))

    assert sorted(answer.status_code for answer in answers) == [200] + [403] * 7


def test_many_grants_at_once_give_one(
    installation: Any, promote: Callable[..., None], at_once: Callable[..., list[Any]]
) -> None:
    root, ada = installation.sign_up("r@example.org"), installation.sign_up()
    promote(installation.platform, root, Role.ADMINISTRATOR)

    answers = at_once(8, lambda: root.put(DRAW.format(ada.id), {}))

    assert {answer.status_code for answer in answers} == {200}
    assert len(ada.get("/api/v1/entitlements").json()["items"]) == 1
