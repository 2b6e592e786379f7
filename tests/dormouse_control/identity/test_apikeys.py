import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from dormouse_control.identity.models import ApiKey
from dormouse_control.wiring import Platform


def _as_key(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_key_is_shown_once_and_stored_as_its_hash(ada: Any, platform: Platform) -> None:
    made = ada.key("laptop")

    assert re.fullmatch(r"dm_[0-9A-Za-z]{43}", made["key"])
    assert made["key"].startswith(made["prefix"])
    listed = ada.get("/api/v1/keys").json()["items"]
    assert listed == [
        {
            "id": made["id"],
            "name": "laptop",
            "prefix": made["prefix"],
            "created_at": "2030-01-01T00:00:00Z",
            "last_used_at": None,
            "expires_at": None,
            "services": None,
            "models": None,
            "endpoints": None,
            "ip_ranges": None,
            "requests_per_minute": None,
            "tokens_per_minute": None,
            "concurrent_calls": None,
            "budget": None,
            "tags": {},
        }
    ]
    assert made == {**listed[0], "key": made["key"]}
    with platform.database.reads() as reading:
        row = reading.scalars(select(ApiKey)).one()
    assert row.sha256 == hashlib.sha256(made["key"].encode()).hexdigest()
    assert made["key"] not in str(vars(row))


def test_the_hash_of_a_key_is_not_a_key(client: TestClient, ada: Any) -> None:
    digest = hashlib.sha256(ada.key()["key"].encode()).hexdigest()
    for wrong in (digest, f"dm_{digest}"):
        assert client.get("/api/v1/me", headers=_as_key(wrong)).status_code == 401


def test_a_key_does_what_its_owner_may_except_managing_keys(client: TestClient, ada: Any) -> None:
    made = ada.key()
    headers = _as_key(made["key"])

    assert client.get("/api/v1/me", headers=headers).json()["credential"] == "key"
    entitle = client.post("/api/v1/entitlements", headers=headers, json={"service": "chat"})
    assert entitle.status_code == 201
    refused = [
        client.post("/api/v1/keys", headers=headers, json={"name": "more"}),
        client.delete(f"/api/v1/keys/{made['id']}", headers=headers),
    ]
    assert [answer.status_code for answer in refused] == [403, 403]
    assert refused[0].json()["error"]["type"] == "permission_error"


def test_a_revoked_key_is_refused_at_once_and_announced(
    client: TestClient, internal: TestClient, ada: Any
) -> None:
    made = ada.key()

    assert ada.delete(f"/api/v1/keys/{made['id']}").status_code == 204

    assert client.get("/api/v1/me", headers=_as_key(made["key"])).status_code == 401
    assert ada.get("/api/v1/keys").json()["items"] == []
    assert ada.delete(f"/api/v1/keys/{made['id']}").status_code == 404
    (item,) = internal.get("/internal/v1/revocations?after=0").json()["items"]
    assert (item["kind"], item["id"]) == ("key", made["id"])


def test_another_users_key_looks_like_none(
    ada: Any, sign_up: Callable[..., Any], client: TestClient
) -> None:
    bob = sign_up("bob@example.org")
    made = ada.key()

    stranger = bob.delete(f"/api/v1/keys/{made['id']}")
    missing = bob.delete("/api/v1/keys/key_00000000000000000000000000")

    assert (stranger.status_code, stranger.text) == (404, missing.text)
    assert bob.get("/api/v1/keys").json()["items"] == []
    assert client.get("/api/v1/me", headers=_as_key(made["key"])).status_code == 200


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "nul\x00", "line\nbreak", 7, None])
def test_a_key_needs_a_name(ada: Any, name: object) -> None:
    answer = ada.post("/api/v1/keys", {"name": name})

    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "name"


def test_strange_ids_are_not_found_or_refused(ada: Any) -> None:
    assert ada.delete("/api/v1/keys/%00").status_code == 422
    assert ada.delete("/api/v1/keys/' OR 1=1").status_code == 422


def test_keys_come_in_pages_newest_first(ada: Any) -> None:
    for number in range(5):
        ada.key(str(number))
    names, after = [], ""
    while True:
        page = ada.get(f"/api/v1/keys?limit=2{after}").json()
        names.append([item["name"] for item in page["items"]])
        if page["next"] is None:
            break
        after = f"&after={page['next']}"

    assert sorted(name for page in names for name in page) == ["0", "1", "2", "3", "4"]
    assert [len(page) for page in names] == [2, 2, 1]


def test_the_last_use_is_noted_but_not_with_every_call(
    client: TestClient, ada: Any, clock: Any
) -> None:
    key = ada.key()["key"]

    def used_after(**amount: float) -> Any:
        clock.advance(**amount)
        client.get("/api/v1/me", headers=_as_key(key))
        (item,) = ada.get("/api/v1/keys").json()["items"]
        return datetime.fromisoformat(item["last_used_at"])

    assert used_after(seconds=1) == datetime(2030, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert used_after(seconds=30) == datetime(2030, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert used_after(seconds=31) == datetime(2030, 1, 1, 0, 1, 2, tzinfo=UTC)
