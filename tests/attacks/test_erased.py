"""Who is erased, and who comes after them under the same address."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from dormouse_control.app import public_app
from dormouse_control.wiring import Platform
from fixtures.control_plane import PASSWORD, Account
from fixtures.operations import operations

# They tell of the account or of the platform, and nothing of what an account has.
SAME_FOR_ALL = {"/api/v1/me", "/api/v1/me/export", "/api/v1/sessions", "/api/v1/workspace"}


@pytest.mark.parametrize("by", ["themselves", "administrator"])
def test_t31_who_registers_an_erased_address_is_somebody_new(
    sign_up: Callable[..., Account],
    administrator: Account,
    platform: Platform,
    internal: TestClient,
    usage_event: Callable[..., Any],
    by: str,
) -> None:
    ada = sign_up("ada@example.org")
    ada.post("/api/v1/entitlements", {"service": "chat"})
    ada.post("/api/v1/entitlements", {"service": "draw"})
    key = ada.key("laptop")
    group = administrator.post("/api/v1/groups", {"name": "G"}).json()["id"]
    administrator.put(f"/api/v1/groups/{group}/members/{ada.id}", None)
    administrator.put(f"/api/v1/groups/{group}/entitlements/draw", {})
    internal.post("/internal/v1/events", json={"events": [usage_event(ada.id)]})
    if by == "themselves":
        assert ada.post("/api/v1/me/erase", {"password": PASSWORD}).status_code == 204
    else:
        assert administrator.delete(f"/api/v1/users/{ada.id}").status_code == 204

    again = sign_up("Ada@Example.ORG")

    assert again.id != ada.id
    never = sign_up("never@example.org")
    for operation in operations(public_app(platform).openapi()):
        if operation.method != "GET" or operation.parameters or operation.role is None:
            continue
        seen = again.get(operation.path)
        assert ada.id not in seen.text, operation.path
        assert key["id"] not in seen.text, operation.path
        if operation.path not in SAME_FOR_ALL:
            assert seen.content == never.get(operation.path).content, operation.path
    workspace, expected = (who.get("/api/v1/workspace").json() for who in (again, never))
    assert workspace | {"account": None} == expected | {"account": None}
    assert again.delete(f"/api/v1/keys/{key['id']}").status_code == 404
    for old in (ada.access_token, key["key"]):
        refused = ada.client.get("/api/v1/me", headers={"authorization": f"Bearer {old}"})
        assert refused.status_code == 401


def test_t31_an_erased_user_never_comes_back(ada: Account, administrator: Account) -> None:
    administrator.delete(f"/api/v1/users/{ada.id}")
    user = f"/api/v1/users/{ada.id}"

    for body in ({"status": "active"}, {"role": "administrator"}, {"tier": "standard"}):
        assert administrator.patch(user, body).status_code == 404
    assert administrator.put(f"{user}/entitlements/chat", {}).status_code == 404
    group = administrator.post("/api/v1/groups", {"name": "G"}).json()["id"]
    assert administrator.put(f"/api/v1/groups/{group}/members/{ada.id}", None).status_code == 404
    assert administrator.get(user).json()["status"] == "erased"
