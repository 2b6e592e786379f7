import json
from datetime import UTC, datetime, timedelta
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


LIMITS = {
    "--service": "chat",
    "--model": "small",
    "--endpoint": "completions",
    "--ip": "192.0.2.0/24",
    "--rpm": "5",
    "--tpm": "900",
    "--concurrent": "2",
    "--tag": "project=atlas",
    "--budget": "0.5/month",
    "--expires": "2030-01-31T12Z",
}


def test_a_key_is_made_and_listed_with_its_limits(platform: Any, signed_in: Any) -> None:
    options = [part for option in LIMITS.items() for part in option]
    assert signed_in("keys", "create", "ci", "--model", "large", *options).stdout == "dm_ci\n"
    sent = platform.requests[-1].body
    assert sent == {
        "name": "ci",
        "services": ["chat"],
        "models": ["large", "small"],
        "endpoints": ["completions"],
        "ip_ranges": ["192.0.2.0/24"],
        "requests_per_minute": 5,
        "tokens_per_minute": 900,
        "concurrent_calls": 2,
        "tags": {"project": "atlas"},
        "budget": {"amount": 0.5, "period": "month"},
        "expires_at": sent["expires_at"],
    }
    assert datetime.fromisoformat(sent["expires_at"]) == datetime(2030, 1, 31, 12, tzinfo=UTC)
    shown = signed_in("keys", "list").stdout
    assert "5/min; 900 tokens/min; 2 at once; 0.5/month; until" in shown
    for part in ("chat; large, small; completions; 192.0.2.0/24",):
        assert part in shown


@pytest.mark.parametrize(("life", "days"), [("30d", 30), ("48h", 2), ("1w", 7)])
def test_a_life_is_counted_from_now(platform: Any, signed_in: Any, life: str, days: int) -> None:
    signed_in("keys", "create", "ci", "--expires", life)
    end = datetime.fromisoformat(platform.requests[-1].body["expires_at"])
    assert timedelta(0) <= datetime.now(UTC) + timedelta(days=days) - end < timedelta(minutes=5)


def test_a_change_sends_only_what_it_names(platform: Any, signed_in: Any) -> None:
    signed_in("keys", "create", "ci", "--service", "chat")
    done = signed_in(
        "keys", "change", "key_1", "--name", "new", "--no", "service", "--rpm", "7", "--no", "tag"
    )
    assert done.stdout == "Changed key_1. Its limits: 7/min.\n"
    assert platform.requests[-1].body == {
        "name": "new",
        "services": None,
        "tags": None,
        "requests_per_minute": 7,
    }


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--expires", "soon"),
        ("--expires", "99999999-01-01"),
        ("--budget", "5"),
        ("--budget", "5/year"),
        ("--budget", "-5/day"),
        ("--rpm", "0"),
        ("--tpm", "0"),
        ("--concurrent", "0"),
        ("--tag", "atlas"),
    ],
)
def test_a_limit_that_is_none_is_wrong_use(
    platform: Any, signed_in: Any, option: str, value: str
) -> None:
    done = signed_in("keys", "create", "ci", option, value)
    assert done.exit_code == 2
    assert platform.keys == {}
    assert signed_in("keys", "change", "key_1", "--no", "name").exit_code == 2
