"""What a key may be narrowed to, when it is made and when it is changed."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from dormouse.catalog import Route
from dormouse_control.audit.models import AuditEntry
from dormouse_control.errors import InvalidValue
from dormouse_control.identity.keys_limits import Offer, check_reach
from dormouse_control.identity.models import ApiKey
from dormouse_control.tiers.models import Tier
from dormouse_control.wiring import Platform

KEYS = "/api/v1/keys"


@pytest.fixture
def eve(ada: Any) -> Any:
    """Ada with the right to call `chat`."""
    assert ada.post("/api/v1/entitlements", {"service": "chat"}).status_code == 201
    return ada


def make(account: Any, **limits: Any) -> Any:
    return account.post(KEYS, {"name": "narrow", **limits})


def made(account: Any, **limits: Any) -> dict[str, Any]:
    answer = make(account, **limits)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def error(answer: Any) -> tuple[int, str, str | None]:
    found = answer.json()["error"]
    return answer.status_code, found["code"], found["param"]


def news(internal: TestClient) -> Any:
    items = internal.get("/internal/v1/revocations?after=0").json()["items"]
    return [(item["kind"], item["id"], item["cuts"]) for item in items if item["kind"] == "key"]


def test_every_limit_is_kept_and_shown(eve: Any) -> None:
    limits = {
        "expires_at": "2031-01-01T12:00:00Z",
        "services": ["chat"],
        "models": ["small"],
        "endpoints": ["chat.completions"],
        "ip_ranges": ["192.0.2.0/24", "2001:db8::/32"],
        "requests_per_minute": 5,
        "tokens_per_minute": 900,
        "concurrent_calls": 2,
        "budget": {"amount": 0.25, "period": "month"},
        "tags": {"project": "atlas", "environment": "production"},
    }
    key = made(eve, **limits)

    assert {name: key[name] for name in limits} == limits
    (listed,) = eve.get(KEYS).json()["items"]
    assert listed == {name: value for name, value in key.items() if name != "key"}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (["192.0.2.7"], ["192.0.2.7/32"]),
        (["2001:DB8:0::/32"], ["2001:db8::/32"]),
        (["::ffff:192.0.2.0/120"], ["192.0.2.0/24"]),
        (["192.0.2.0/24", "192.0.2.0/255.255.255.0"], ["192.0.2.0/24"]),
    ],
)
def test_ranges_have_one_spelling(eve: Any, sent: list[str], kept: list[str]) -> None:
    assert made(eve, ip_ranges=sent)["ip_ranges"] == kept


def test_a_range_with_host_bits_is_refused_with_what_was_meant(eve: Any) -> None:
    answer = make(eve, ip_ranges=["192.0.2.7/24"])
    assert error(answer) == (422, "invalid_value", "ip_ranges")
    assert answer.json()["error"]["message"].startswith("ip_ranges: '192.0.2.7/24'")
    assert "write 192.0.2.0/24" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"services": []}, (422, "invalid_value", "services")),
        ({"models": []}, (422, "invalid_value", "models")),
        ({"endpoints": []}, (422, "invalid_value", "endpoints")),
        ({"ip_ranges": []}, (422, "invalid_value", "ip_ranges")),
        ({"ip_ranges": ["nowhere"]}, (422, "invalid_value", "ip_ranges")),
        ({"ip_ranges": ["192.0.2.0/33"]}, (422, "invalid_value", "ip_ranges")),
        ({"ip_ranges": ["fe80::1%eth0"]}, (422, "invalid_value", "ip_ranges")),
        ({"ip_ranges": [f"192.0.2.{n}" for n in range(51)]}, (422, "invalid_value", "ip_ranges")),
        ({"services": ["nothing"]}, (422, "invalid_value", "services")),
        ({"services": ["*"]}, (422, "invalid_value", "services")),
        ({"services": "chat"}, (422, "invalid_value", "services")),
        ({"models": ["nothing"]}, (422, "invalid_value", "models")),
        ({"models": ["large"]}, (422, "invalid_value", "models")),  # not offered here
        ({"endpoints": ["embeddings"]}, (422, "invalid_value", "endpoints")),
        ({"endpoints": ["completions\x00"]}, (422, "invalid_value", "endpoints.0")),
        ({"expires_at": "2029-12-31T23:59:59Z"}, (422, "invalid_value", "expires_at")),
        ({"expires_at": "2030-01-01T00:00:00Z"}, (422, "invalid_value", "expires_at")),
        ({"expires_at": "2035-01-03T00:00:00Z"}, (422, "invalid_value", "expires_at")),
        ({"expires_at": "2031-01-01T00:00:00"}, (422, "invalid_value", "expires_at")),
        ({"expires_at": 1900000000}, (422, "invalid_value", "expires_at")),
        ({"expires_at": "1900000000"}, (422, "invalid_value", "expires_at")),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, (422, "invalid_value", "expires_at")),
        ({"requests_per_minute": 0}, (422, "invalid_value", "requests_per_minute")),
        ({"requests_per_minute": True}, (422, "invalid_value", "requests_per_minute")),
        ({"requests_per_minute": 601}, (403, "forbidden", "requests_per_minute")),
        ({"tokens_per_minute": 0}, (422, "invalid_value", "tokens_per_minute")),
        ({"tokens_per_minute": 10_000_001}, (403, "forbidden", "tokens_per_minute")),
        ({"concurrent_calls": 0}, (422, "invalid_value", "concurrent_calls")),
        ({"concurrent_calls": 1001}, (403, "forbidden", "concurrent_calls")),
        ({"tags": {"Project": "x"}}, (422, "invalid_value", "tags")),
        ({"tags": {"project": ""}}, (422, "invalid_value", "tags")),
        ({"tags": {"project": "x" * 65}}, (422, "invalid_value", "tags")),
        ({"tags": {"project": "a\nb"}}, (422, "invalid_value", "tags")),
        ({"tags": {"project": "a\x00"}}, (422, "invalid_value", "tags")),
        ({"tags": {f"t{n}": "x" for n in range(17)}}, (422, "invalid_value", "tags")),
        ({"tags": {"project": 1}}, (422, "invalid_value", "tags.project")),
        ({"tags": ["project"]}, (422, "invalid_value", "tags")),
        ({"budget": {"amount": 0, "period": "day"}}, (422, "invalid_value", "budget.amount")),
        ({"budget": {"amount": -1, "period": "day"}}, (422, "invalid_value", "budget.amount")),
        ({"budget": {"amount": 1e10, "period": "day"}}, (422, "invalid_value", "budget.amount")),
        ({"budget": {"amount": 1, "period": "week"}}, (422, "invalid_value", "budget.period")),
        (
            {"budget": {"amount": 1}},
            (422, "missing_required_parameter", "budget.period"),
        ),
    ],
)
def test_limits_that_mean_nothing_are_refused(eve: Any, limits: Any, expected: Any) -> None:
    assert error(make(eve, **limits)) == expected
    assert eve.get(KEYS).json()["items"] == []


def test_five_years_are_the_longest_life(eve: Any) -> None:
    assert make(eve, expires_at="2035-01-01T00:00:00Z").status_code == 201


@pytest.mark.parametrize(
    ("limits", "possible"),
    [
        ({"services": ["chat"], "models": ["mini"]}, False),
        ({"services": ["chat"], "endpoints": ["embeddings"]}, False),
        ({"models": ["small"], "endpoints": ["embeddings"]}, False),
        ({"services": ["chat"], "models": ["mini", "small"]}, True),
        ({"models": ["mini"], "endpoints": ["embeddings"]}, True),
    ],
)
def test_limits_that_exclude_each_other_are_refused(
    limits: dict[str, list[str]], possible: bool
) -> None:
    routes = {
        "small": Route("chat", "small", ("completions",)),
        "mini": Route("embeddings", "mini", ("embeddings",)),
    }
    key, offer = ApiKey(**limits), Offer(["chat", "embeddings"], routes)
    if possible:
        check_reach(key, offer=offer)
    else:
        with pytest.raises(InvalidValue, match="exclude each other"):
            check_reach(key, offer=offer)


def test_another_name_is_kept_as_the_model_it_means(eve: Any) -> None:
    assert made(eve, models=["gpt-4o-mini", "small"])["models"] == ["small"]


def test_a_narrowed_key_sees_only_what_it_may_call(eve: Any, client: TestClient) -> None:
    headers = {"authorization": f"Bearer {made(eve, endpoints=['completions'])['key']}"}

    def got(path: str) -> Any:
        return client.get(path, headers=headers)

    (service,) = got("/api/v1/services").json()["items"]
    assert (service["id"], service["endpoints"]) == ("chat", ["completions"])
    assert [model["id"] for model in got("/v1/models").json()["data"]] == ["small"]
    assert got("/v1/models/gpt-4o-mini").status_code == 200
    missing = got("/api/v1/services/nothing")
    assert (got("/api/v1/services/draw").status_code, missing.status_code) == (404, 404)
    assert got("/api/v1/services/draw").text == missing.text
    assert {item["id"] for item in eve.get("/api/v1/services").json()["items"]} == {"chat", "draw"}
    eve.delete("/api/v1/entitlements/chat")
    assert got("/api/v1/services").json()["items"] == []
    assert got("/v1/models/small").status_code == 404


def test_a_key_is_changed_and_authorizers_are_told(eve: Any, internal: TestClient) -> None:
    key = made(eve, requests_per_minute=5)
    path = f"{KEYS}/{key['id']}"

    renamed = eve.patch(path, {"name": "new"})
    assert renamed.status_code == 200
    assert (renamed.json()["name"], renamed.json()["requests_per_minute"]) == ("new", 5)
    assert news(internal)[-1] == ("key", key["id"], False)
    narrowed = eve.patch(path, {"services": ["chat"], "requests_per_minute": None})
    assert (narrowed.json()["services"], narrowed.json()["requests_per_minute"]) == (["chat"], None)
    assert news(internal)[-1] == ("key", key["id"], True)
    assert eve.patch(path, {"services": None}).json()["services"] is None
    assert news(internal)[-1] == ("key", key["id"], False)
    for end, cuts in (("2031-01-01T00:00:00Z", True), ("2032-01-01T00:00:00Z", False)):
        assert eve.patch(path, {"expires_at": end}).json()["expires_at"] == end
        assert news(internal)[-1] == ("key", key["id"], cuts)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": None}, 422),
        ({"name": " "}, 422),
        ({"services": ["draw"]}, 403),
        ({"services": []}, 422),
        ({"requests_per_minute": 601}, 403),
        ({"expires_at": "2029-01-01T00:00:00Z"}, 422),
        ({"key": "dm_mine"}, 422),
    ],
)
def test_a_change_is_checked_like_a_new_key(
    eve: Any, internal: TestClient, change: Any, status: int
) -> None:
    key = made(eve)
    before = eve.get(KEYS).json()
    assert eve.patch(f"{KEYS}/{key['id']}", change).status_code == status
    assert eve.get(KEYS).json() == before
    assert news(internal) == []


def test_a_key_can_be_renamed_after_its_owner_lost_what_it_names(eve: Any) -> None:
    key = made(eve, services=["chat"])
    eve.delete("/api/v1/entitlements/chat")
    assert eve.patch(f"{KEYS}/{key['id']}", {"name": "still mine"}).status_code == 200
    assert make(eve, services=["chat"]).status_code == 403


def test_another_users_key_cannot_be_changed_and_looks_like_none(eve: Any, sign_up: Any) -> None:
    bob = sign_up("bob@example.org")
    key = made(eve)
    stranger = bob.patch(f"{KEYS}/{key['id']}", {"name": "mine"})
    missing = bob.patch(f"{KEYS}/key_00000000000000000000000000", {"name": "mine"})
    assert (stranger.status_code, stranger.text) == (404, missing.text)
    eve.delete(f"{KEYS}/{key['id']}")
    assert eve.patch(f"{KEYS}/{key['id']}", {"name": "gone"}).status_code == 404


def test_every_change_is_in_the_audit_log_without_the_key(eve: Any, platform: Platform) -> None:
    key = made(eve, services=["chat"], ip_ranges=["192.0.2.0/24"])
    eve.patch(f"{KEYS}/{key['id']}", {"services": None})
    eve.delete(f"{KEYS}/{key['id']}")
    with platform.database.reads() as reading:
        wanted = select(AuditEntry).where(AuditEntry.subject == key["id"])
        rows = reading.scalars(wanted.order_by(AuditEntry.seq)).all()
    assert [row.action for row in rows] == ["key.create", "key.change", "key.revoke"]
    assert {row.actor for row in rows} == {eve.id}
    text = "".join(row.details for row in rows)
    assert '"services": ["chat"]' in text
    assert "192.0.2" not in text
    assert key["key"] not in text


def test_limits_of_the_tier_bind_its_keys(eve: Any, platform: Platform) -> None:
    with platform.database.sessions.begin() as session:
        limits = {"requests_per_minute": 10, "tokens_per_minute": 20, "concurrent_calls": 3}
        session.execute(update(Tier).values(monthly_budget_nano=5 * 10**9, most_keys=2, **limits))
    for name, most in limits.items():
        assert error(make(eve, **{name: most + 1})) == (403, "forbidden", name)
    assert error(make(eve, requests_per_minute=11))[0] == 403
    assert error(make(eve, budget={"amount": 6, "period": "total"})) == (403, "forbidden", "budget")
    made(eve, requests_per_minute=10, budget={"amount": 5, "period": "month"})
    second = made(eve)
    assert error(make(eve)) == (409, "limit_reached", None)
    eve.delete(f"{KEYS}/{second['id']}")
    made(eve)


def test_an_expired_key_is_worth_nothing(eve: Any, client: TestClient, clock: Any) -> None:
    key = made(eve, expires_at=(clock() + timedelta(hours=1)).isoformat())
    headers = {"authorization": f"Bearer {key['key']}"}
    assert client.get("/api/v1/me", headers=headers).status_code == 200
    clock.advance(hours=1)
    assert client.get("/api/v1/me", headers=headers).status_code == 401


def test_a_key_for_some_addresses_is_good_from_there_only(eve: Any, client: TestClient) -> None:
    key = made(eve, ip_ranges=["192.0.2.0/24"])["key"]

    def status(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = client.get("/api/v1/me", headers={"authorization": f"Bearer {key}", **named})
        return int(answer.status_code)

    assert status(x_envoy_external_address="192.0.2.9") == 200
    assert status(x_envoy_external_address="192.0.3.9") == 401
    assert status(x_forwarded_for="192.0.2.9") == 401
    assert status() == 401


def test_cursors_of_keys_are_ours_alone(eve: Any, sign_up: Any) -> None:
    for _ in range(2):
        made(eve)
    page = eve.get(f"{KEYS}?limit=1").json()
    assert eve.get(f"{KEYS}?after={page['next']}").status_code == 200
    bob = sign_up("bob@example.org")
    assert error(bob.get(f"{KEYS}?after={page['next']}"))[:2] == (400, "invalid_cursor")
    assert error(eve.get(f"{KEYS}?after={page['items'][0]['id']}"))[:2] == (400, "invalid_cursor")
