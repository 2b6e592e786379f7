import json
from typing import Any

import pytest


def test_a_key_is_shown_once_and_alone_on_stdout(platform: Any, signed_in: Any) -> None:
    done = signed_in("keys", "create", "laptop")
    assert (done.exit_code, done.stdout) == (0, "dm_laptop\n")
    assert "not shown again" in done.stderr
    listed = signed_in("keys", "list")
    assert "dm_laptop" not in listed.stdout
    assert "key_1" in listed.stdout
    assert "never" in listed.stdout
    assert "dm_laptop" in platform.keys


def test_keys_as_json(signed_in: Any) -> None:
    assert json.loads(signed_in("keys", "create", "ci", "--json").stdout)["key"] == "dm_ci"
    items = json.loads(signed_in("keys", "list", "--json").stdout)["items"]
    assert [item["name"] for item in items] == ["ci"]
    assert json.loads(signed_in("keys", "revoke", "key_1", "--json").stdout) == {"revoked": "key_1"}


def test_a_revoked_key_is_gone(platform: Any, signed_in: Any) -> None:
    signed_in("keys", "create", "laptop")
    assert signed_in("keys", "revoke", "key_1").stdout == "Revoked key_1.\n"
    assert platform.keys == {}
    done = signed_in("keys", "revoke", "key_1")
    assert done.exit_code == 1
    assert "(not_found)" in done.stderr


def test_keys_are_made_by_the_session_where_there_is_also_a_key(
    platform: Any, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DORMOUSE_API_KEY", "dm_other")
    assert signed_in("keys", "create", "laptop").exit_code == 0
    assert platform.requests[-1].headers["authorization"] == "Bearer access-1"
