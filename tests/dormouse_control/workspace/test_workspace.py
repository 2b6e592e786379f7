"""All that is one's own, in one read."""

from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from fixtures.control_plane import PASSWORD, Account, FakeRuntime

NOTHING = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0}


def test_a_new_workspace(ada: Account) -> None:
    found = ada.get("/api/v1/workspace").json()

    assert found == {
        "account": ada.get("/api/v1/me").json(),
        "services": [
            {
                "id": id,
                "title": id.title(),
                "status": "asleep",
                "entitled": False,
                "entitled_until": None,
            }
            for id in ("chat", "draw")
        ],
        "models": [],
        "versions": [],
        "keys": [],
        "usage": {"month": NOTHING, "all": NOTHING, "currency": "USD"},
        "limits": found["limits"],
        "requests": [],
        "sessions": 1,
    }
    assert found["limits"]["highest_priority"] == 0
    assert found["limits"]["most_keys"] == 100
    assert found["limits"]["monthly_budget"] is None


def test_a_workspace_in_use(
    ada: Account,
    administrator: Account,
    internal: TestClient,
    usage_event: Callable[..., Any],
    client: TestClient,
) -> None:
    end = {"expires_at": "2030-07-01T00:00:00Z"}
    administrator.put(f"/api/v1/users/{ada.id}/entitlements/chat", end)
    administrator.put("/api/v1/tiers/gold", {"title": "Gold", "requests_per_minute": 7})
    administrator.patch(f"/api/v1/users/{ada.id}", {"tier": "gold"})
    ada.post("/api/v1/entitlements", {"service": "draw", "reason": "I paint"})
    key = ada.key("laptop")
    client.post("/api/v1/sessions", json={"email": ada.email, "password": PASSWORD})
    old = usage_event(ada.id, "req-0", time="2029-12-31T23:59:59Z")
    internal.post("/internal/v1/events", json={"events": [old, usage_event(ada.id)]})

    found = ada.get("/api/v1/workspace").json()

    chat, draw = found["services"]
    assert (chat["entitled"], chat["entitled_until"]) == (True, "2030-07-01T00:00:00Z")
    assert draw["entitled"] is False
    assert found["models"] == [{"id": "small", "title": "Small", "service": "chat"}]
    assert [(each["id"], each["name"]) for each in found["keys"]] == [(key["id"], "laptop")]
    assert key["key"] not in str(found)
    assert found["usage"]["month"]["requests"] == 1
    assert found["usage"]["all"]["requests"] == 2
    assert found["limits"]["requests_per_minute"] == 7
    assert [(each["service"], each["reason"]) for each in found["requests"]] == [
        ("draw", "I paint")
    ]
    assert found["sessions"] == 2


def test_it_is_readable_while_nothing_runs(ada: Account, runtime: FakeRuntime) -> None:
    runtime.services = None

    assert ada.get("/api/v1/workspace").json()["services"][0]["status"] == "asleep"


def test_a_key_that_is_narrowed_does_not_see_it(ada: Account) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    narrow = ada.post("/api/v1/keys", {"name": "n", "services": ["chat"]}).json()["key"]
    wide = ada.key()["key"]

    def status(key: str) -> int:
        header = {"authorization": f"Bearer {key}"}
        return int(ada.client.get("/api/v1/workspace", headers=header).status_code)

    assert (status(narrow), status(wide)) == (403, 200)
