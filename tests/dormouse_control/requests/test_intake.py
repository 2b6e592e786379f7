"""Calls that nobody waits for are taken whole, or refused as they would be when they are made."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from dormouse_control.identity.models import User
from dormouse_control.requests.models import AsyncBody, AsyncRequest, BodyPart
from dormouse_control.settings import Settings
from dormouse_control.tiers.models import Tier
from dormouse_control.wiring import Platform
from fixtures.asynchronous import BODY, ask_async, send_async
from fixtures.control_plane import Account


def _count(platform: Platform) -> int:
    with platform.database.reads() as reading:
        return reading.scalar(select(func.count()).select_from(AsyncRequest)) or 0


def test_it_is_answered_when_all_of_it_is_stored(ada: Account, platform: Platform) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    answer = send_async(ada, x_dormouse_priority="2", x_dormouse_tag_team="red", cookie="no")

    assert answer.status_code == 202
    found = answer.json()
    assert answer.headers["location"] == f"/api/v1/requests/{found['id']}"
    assert answer.headers["preference-applied"] == "respond-async"
    assert (found["status"], found["stage"], found["position"]) == ("queued", "waiting_for_turn", 0)
    assert (found["attempts"], found["webhook"], found["refusal"]) == (0, None, None)
    with platform.database.reads() as reading:
        row = reading.get_one(AsyncRequest, found["id"])
        body = reading.get_one(AsyncBody, (row.id, BodyPart.ASKED))
    assert json.loads(body.content) == BODY
    assert (row.user_id, row.endpoint, row.service) == (ada.id, "chat.completions", "chat")
    assert row.headers == {
        "content-type": "application/json",
        "x-dormouse-model": "small",
        "x-dormouse-priority": "2",
        "x-dormouse-tag-team": "red",
    }


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ({"x_dormouse_model": "nope"}, 404, "model_not_found"),
        (
            {"x_dormouse_model": "", "x_dormouse_model_error": "missing"},
            400,
            "missing_required_parameter",
        ),
        ({"x_dormouse_model": "", "x_dormouse_model_error": "invalid_json"}, 400, "invalid_json"),
        ({"x_dormouse_model": "", "x_dormouse_model_error": "bad_name"}, 404, "model_not_found"),
        ({"path": "/v1/embeddings"}, 400, "invalid_value"),
        ({"x_dormouse_priority": "9"}, 400, "invalid_value"),
        ({"x_dormouse_tag_Team": "a", "x_dormouse_tag__": "b"}, 400, "invalid_value"),
        ({"x_dormouse_tag_team": "x" * 65}, 400, "invalid_value"),
        ({f"x_dormouse_tag_t{number}": "x" for number in range(17)}, 400, "invalid_value"),
        ({"body": {**BODY, "stream": True}}, 400, "stream_not_async"),
        ({"body": {**BODY, "user": "x" * 2**20, "stream": True}}, 400, "stream_not_async"),
        ({"body": b"{"}, 400, "invalid_json"),
        ({"body": b"[" * 100_000}, 400, "invalid_json"),
        ({"body": [BODY]}, 400, "invalid_json"),
        ({"credential": "dm_" + "x" * 43}, 401, "invalid_api_key"),
    ],
)
def test_nonsense_is_refused_at_once(
    ada: Account, platform: Platform, how: dict[str, Any], status: int, code: str
) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    answer = send_async(ada, **how)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert _count(platform) == 0


def test_a_tag_is_a_printable_text_in_utf_8(ada: Account, platform: Platform) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    for text, status in (("Köln", 202), ("K\u200bln", 400)):
        answer = send_async(ada, x_dormouse_tag_team=text)
        assert answer.status_code == status
    assert answer.json()["error"]["param"] == "x-dormouse-tag-team"
    assert _count(platform) == 1


def test_who_may_not_call_is_refused_at_once(ada: Account, platform: Platform) -> None:
    answer = send_async(ada)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_entitled")
    ada.post("/api/v1/entitlements", {"service": "chat"})
    body = {"name": "x", "endpoints": ["completions"]}
    narrow = ada.post("/api/v1/keys", body).json()["key"]

    answer = send_async(ada, credential=narrow)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "key_restricted")
    elsewhere = ada.post("/api/v1/keys", {"name": "x", "ip_ranges": ["192.0.2.0/24"]}).json()["key"]
    answer = send_async(ada, credential=elsewhere)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    answer = send_async(ada, credential=elsewhere, x_envoy_external_address="192.0.2.7")
    assert answer.status_code == 202
    assert _count(platform) == 1


def test_a_body_may_be_as_long_as_the_tier_allows(ada: Account, platform: Platform) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    long = {**BODY, "user": 'x"stream":true' * 2**17}
    assert send_async(ada, long).status_code == 202
    with platform.database.sessions.begin() as session:
        tier = session.get_one(User, ada.id).tier
        session.execute(update(Tier).where(Tier.id == tier).values(max_body_mb=1))

    answer = send_async(ada, long)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_a_repeated_request_is_taken_once(ada: Account, platform: Platform) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    first, second = (send_async(ada, idempotency_key="k") for _ in range(2))

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    for name in ("location", "preference-applied"):
        assert second.headers[name] == first.headers[name]
    assert _count(platform) == 1
    for more in (
        {"body": {**BODY, "n": 2}},
        {"x_dormouse_model": "gpt-4o-mini"},
        {"x_dormouse_priority": "2"},
        {"x_dormouse_tag_team": "red"},
        {"webhook": "https://hooks.example.org/"},
    ):
        other = send_async(ada, idempotency_key="k", **more)
        assert other.json()["error"]["code"] == "idempotency_key_reused"


def _with(platform: Platform, **changes: Any) -> None:
    """Settings are frozen, so that nobody changes them; only here."""
    for name, value in changes.items():
        object.__setattr__(platform.settings, name, value)
    assert isinstance(platform.settings, Settings)


def test_so_many_may_be_open_and_no_more(
    ada: Account,
    platform: Platform,
    sign_up: Callable[..., Account],
    at_once: Callable[[int, Callable[[], Any]], list[Any]],
) -> None:
    _with(platform, async_requests=3)
    ada.post("/api/v1/entitlements", {"service": "chat"})
    answers = at_once(8, lambda: send_async(ada))

    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 5
    [refused, *_] = [answer for answer in answers if answer.status_code == 429]
    assert refused.json()["error"]["code"] == "too_many_requests_open"
    assert int(refused.headers["retry-after"]) > 0
    ask_async(sign_up("bob@example.org"))
    [one, *_] = ada.get("/api/v1/requests").json()["items"]
    assert ada.delete(f"/api/v1/requests/{one['id']}").status_code == 204
    assert send_async(ada).status_code == 202


def test_so_much_is_kept_and_no_more(ada: Account, platform: Platform) -> None:
    _with(platform, async_stored_mb=1)
    first = ask_async(ada, {**BODY, "user": "x" * 600_000})
    answer = send_async(ada, {**BODY, "user": "x" * 600_000})

    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "requests_take_too_much")
    for _ in range(2):
        ada.delete(f"/api/v1/requests/{first['id']}")
    assert send_async(ada, {**BODY, "user": "x" * 600_000}).status_code == 202


def test_what_comes_beside_the_body_counts_too(ada: Account, platform: Platform) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    ada.post("/api/v1/webhook-secret", None)
    sizes = []
    for more in ({}, {"x_dormouse_tag_team": "x" * 64}, {"webhook": f"https://x.org/{'x' * 900}"}):
        with platform.database.reads() as reading:
            id = send_async(ada, **more).json()["id"]
            sizes.append(reading.get_one(AsyncRequest, id).asked_bytes)
    assert sizes[0] > len(json.dumps(BODY))
    assert sizes[1] - sizes[0] == 64 + len("x-dormouse-tag-team")
    assert sizes[2] - sizes[0] == 900 + len("https://x.org/")


def test_those_that_ended_count_until_they_are_erased(ada: Account, platform: Platform) -> None:
    _with(platform, async_requests=1)
    asked = []
    for _ in range(10):
        asked.append(ask_async(ada)["id"])
        ada.delete(f"/api/v1/requests/{asked[-1]}")
    answer = send_async(ada)

    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "requests_take_too_much")
    assert int(answer.headers["retry-after"]) > 0
    ada.delete(f"/api/v1/requests/{asked[0]}")
    assert send_async(ada).status_code == 202


def test_with_little_space_left_nothing_is_taken(ada: Account, platform: Platform) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    _with(platform, reserved_disk_mb=2**30)
    answer = send_async(ada)

    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "insufficient_storage")
    assert _count(platform) == 0


def test_a_database_that_is_full_says_so(ada: Account, platform: Platform) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    engine = platform.database.engine
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's disk is not ours to fill")

    def full(connection: Any, *_: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    engine.dispose()
    event.listen(engine, "connect", full)
    answer = send_async(ada, {**BODY, "user": "x" * 2**20})
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "insufficient_storage")
    assert _count(platform) == 0
