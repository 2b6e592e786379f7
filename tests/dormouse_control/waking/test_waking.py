"""Operators see, wake and put to sleep; what they did is in the audit log."""

from typing import Any

import pytest

from dormouse_control.identity.models import Role
from dormouse_control.runtimes.base import ServiceStatus
from fixtures.control_plane import Account, FakeRuntime

WAKING = ServiceStatus("chat", "waking", "loading 50%", (), (), 3, 140, 900, 100, 900, ("bad",))


def noted(administrator: Account) -> list[tuple[str, str, str]]:
    items = administrator.get("/api/v1/audit").json()["items"]
    return [
        (each["action"], each["subject"], each["actor"])
        for each in items
        if each["action"].startswith("service.")
    ]


@pytest.fixture
def operator(ada: Account, administrator: Account) -> Account:
    changed = administrator.patch(f"/api/v1/users/{ada.id}", {"role": Role.OPERATOR.value})
    assert changed.status_code == 200
    return ada


def test_one_service_as_it_is(operator: Account, runtime: FakeRuntime) -> None:
    runtime.services = [WAKING]
    assert operator.get("/api/v1/services/chat/status").json() == {
        "id": "chat",
        "status": "waking",
        "stage": "loading 50%",
        "models_loaded": [],
        "predictors": [],
        "queue": 3,
        "last_cold_start_ms": 140,
        "eta_ms": 900,
        "oldest_wait_ms": 100,
        "expected_wait_ms": 900,
        "quarantined": ["bad"],
    }


@pytest.mark.parametrize("verb", ["wake", "sleep"])
def test_what_an_operator_does_is_done_and_noted(
    operator: Account, administrator: Account, runtime: FakeRuntime, verb: str
) -> None:
    runtime.services = [WAKING]
    answer = operator.post(f"/api/v1/services/chat/{verb}", None)
    assert (answer.status_code, answer.json()["status"]) == (202, "waking")
    assert runtime.told == [(verb, "chat")]
    assert noted(administrator) == [(f"service.{verb}", "chat", operator.id)]


@pytest.mark.parametrize("verb", ["wake", "sleep"])
def test_what_was_not_done_is_not_noted(
    administrator: Account, runtime: FakeRuntime, verb: str
) -> None:
    runtime.not_run = {"draw"}
    refused = administrator.post(f"/api/v1/services/draw/{verb}", None)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    runtime.services = None
    away = administrator.post(f"/api/v1/services/chat/{verb}", None)
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    assert administrator.get("/api/v1/services/chat/status").status_code == 503
    assert noted(administrator) == []


@pytest.mark.parametrize(
    ("method", "verb"), [("GET", "status"), ("POST", "wake"), ("POST", "sleep")]
)
def test_others_may_not_and_what_is_not_there_is_not_found(
    ada: Account, administrator: Account, runtime: FakeRuntime, method: str, verb: str
) -> None:
    def ask(who: Account, service: str) -> Any:
        answer = who.call(method, f"/api/v1/services/{service}/{verb}")
        return answer.status_code, answer.json()["error"]["code"]

    assert ask(ada, "chat") == (403, "forbidden")
    assert ask(administrator, "nothing") == (404, "not_found")
    assert runtime.told == []
