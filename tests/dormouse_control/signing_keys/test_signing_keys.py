from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from dormouse_control import housekeeping, keys
from dormouse_control.audit.models import AuditEntry
from dormouse_control.signing_keys import operations
from dormouse_control.wiring import Platform

PATH = "/api/v1/signing-keys"
PURPOSES = '{"purposes": ["access", "internal", "delegated"]}'


def _states(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((item["purpose"], item["state"]) for item in items)


def _actions(platform: Platform) -> list[tuple[str | None, str]]:
    with platform.database.reads() as reading:
        wanted = select(AuditEntry).where(AuditEntry.action == "signing_key.rotate")
        return [(entry.actor, entry.details) for entry in reading.scalars(wanted)]


def test_an_administrator_replaces_the_keys_at_once(
    platform: Platform, administrator: Any, ada: Any
) -> None:
    before = administrator.get(PATH).json()["items"]

    answer = administrator.post(PATH, json=None)

    assert answer.status_code == 201, answer.text
    assert _states(answer.json()["items"]) == sorted(
        (purpose, state) for purpose in keys.PURPOSES for state in ("current", "next", "retired")
    )
    assert {item["kid"] for item in before} < {item["kid"] for item in answer.json()["items"]}
    assert set(answer.json()["items"][0]) == {"kid", "purpose", "state", "since"}
    assert ada.get("/api/v1/me").status_code == 200  # with a token of the old key
    assert _actions(platform) == [(administrator.id, PURPOSES)]


def test_new_tokens_are_of_the_new_key(client: TestClient, administrator: Any, ada: Any) -> None:
    administrator.post(PATH, json=None)

    refresh = {"refresh_token": ada.refresh_token}
    pair = client.post("/api/v1/sessions/refresh", json=refresh).json()

    assert pair["access_token"].split(".")[0] != ada.access_token.split(".")[0]
    ada.access_token = pair["access_token"]
    assert ada.get("/api/v1/me").status_code == 200
    published = {key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]}
    assert len(published) == 3 * len(keys.PURPOSES)


def test_others_neither_see_nor_replace_them(ada: Any) -> None:
    assert ada.get(PATH).status_code == 403
    assert ada.post(PATH, json=None).status_code == 403


def test_they_cannot_be_replaced_without_end(
    administrator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "MOST_RETIRED", 2 * len(keys.PURPOSES))
    assert [administrator.post(PATH, json=None).status_code for _ in range(3)] == [201, 201, 409]


def test_old_keys_are_replaced_by_themselves(platform: Platform, clock: Any) -> None:
    housekeeping.begin(platform)
    folder = platform.settings.keys_folder
    keys.rotate(folder, now=clock().timestamp())
    first = keys.ensure_keys(folder)

    clock.advance(days=platform.settings.signing_key_days, seconds=-1)
    housekeeping.tend(platform)
    assert keys.ensure_keys(folder).access.kid == first.access.kid
    clock.advance(seconds=1)
    housekeeping.tend(platform)
    assert keys.ensure_keys(folder).access.kid != first.access.kid
    housekeeping.tend(platform)

    assert (None, PURPOSES) in _actions(platform)
    clock.advance(seconds=keys.RETIRED_SECONDS)
    housekeeping.tend(platform)
    assert {each.state for each in keys.known(folder)} == {"current", "next"}
