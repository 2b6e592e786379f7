"""Asynchronous requests as their owners see them."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import event, func, select

from dormouse_control import housekeeping
from dormouse_control.requests import claims
from dormouse_control.requests.claims import Result
from dormouse_control.requests.models import AsyncBody, AsyncRequest, RequestStatus
from dormouse_control.wiring import Platform
from fixtures.asynchronous import ask_async
from fixtures.control_plane import Account

ANSWER = b'{"object": "chat.completion", "usage": {"total_tokens": 3}}'


def _end(platform: Platform, id: str, result: Result | None = None) -> None:
    result = result or Result(RequestStatus.COMPLETED, 200, ANSWER)
    with platform.database.sessions.begin() as session:
        row = claims.claim(session, id, now=platform.clock())
        assert row is not None
        assert claims.finish(session, id, row.attempt, result, now=platform.clock())


def test_the_result_is_what_the_model_answered(ada: Account, platform: Platform) -> None:
    asked = ask_async(ada)
    path = f"/api/v1/requests/{asked['id']}"
    assert ada.get(path).json() == {**asked, "result": None}

    _end(platform, asked["id"])

    found = ada.get(path).json()
    assert (found["status"], found["stage"], found["position"]) == ("completed", None, None)
    assert found["result"] == {
        "status_code": 200,
        "body": {"object": "chat.completion", "usage": {"total_tokens": 3}},
        "usage": {"total_tokens": 3},
    }
    assert found["erased_at"] == "2030-01-02T00:00:00Z"
    assert "result" not in ada.get("/api/v1/requests").json()["items"][0]


def test_what_is_no_json_is_given_as_text(ada: Account, platform: Platform) -> None:
    asked = ask_async(ada)
    _end(platform, asked["id"], Result(RequestStatus.FAILED, 502, b"\xffoops"))

    result = ada.get(f"/api/v1/requests/{asked['id']}").json()["result"]
    assert result == {"status_code": 502, "body": "�oops", "usage": None}


def test_they_are_listed_page_by_page_and_only_ones_own(
    ada: Account, sign_up: Callable[..., Account], administrator: Account
) -> None:
    asked = [ask_async(ada)["id"] for _ in range(3)]
    bob = sign_up("bob@example.org")
    ask_async(bob)

    found, after = [], ""
    while after is not None:
        page = ada.get(f"/api/v1/requests?limit=2{after and '&after=' + after}").json()
        found += page["items"]
        after = page["next"]
    assert sorted(each["id"] for each in found) == sorted(asked)
    assert sorted(each["position"] for each in found) == [0, 1, 2]
    for stranger in (bob, administrator):
        for method in ("GET", "DELETE"):
            answer = stranger.call(method, f"/api/v1/requests/{asked[0]}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert ada.get(f"/api/v1/requests/{asked[0]}").json()["status"] == "queued"


def test_a_longer_list_takes_no_more_statements(ada: Account, platform: Platform) -> None:
    seen: list[str] = []
    ada.post("/api/v1/webhook-secret", None)
    for _ in range(5):
        ask_async(ada, webhook="https://hooks.example.org/")
    engine = platform.database.engine
    event.listen(engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    counts = []
    for limit in (1, 5):
        seen.clear()
        items = ada.get(f"/api/v1/requests?limit={limit}").json()["items"]
        assert [each["webhook"]["state"] for each in items] == ["waiting"] * limit
        assert [each["position"] for each in items] == [4, 3, 2, 1, 0][:limit]
        counts.append(len(seen))
    assert counts[0] == counts[1]


def test_a_narrow_key_sees_its_own_only(ada: Account) -> None:
    asked = ask_async(ada)["id"]
    body = {"name": "x", "endpoints": ["chat.completions"]}
    narrow = ada.post("/api/v1/keys", body).json()["key"]
    own = ask_async(ada, credential=narrow)["id"]
    headers = {"authorization": f"Bearer {narrow}"}

    listed = ada.client.get("/api/v1/requests", headers=headers).json()["items"]
    assert [each["id"] for each in listed] == [own]
    path = f"/api/v1/requests/{asked}"
    assert ada.client.get(path, headers=headers).status_code == 404
    assert ada.client.delete(path, headers=headers).status_code == 404
    assert {each["id"] for each in ada.get("/api/v1/requests").json()["items"]} == {asked, own}


def test_deleting_cancels_and_then_erases(ada: Account, platform: Platform) -> None:
    asked = ask_async(ada)["id"]
    path = f"/api/v1/requests/{asked}"

    assert ada.delete(path).status_code == 204
    found = ada.get(path).json()
    assert (found["status"], found["ended_at"]) == ("cancelled", "2030-01-01T00:00:00Z")
    assert ada.delete(path).status_code == 204
    assert ada.delete(path).status_code == 404
    assert _rows(platform) == (0, 0)


def _rows(platform: Platform) -> tuple[Any, ...]:
    with platform.database.reads() as reading:
        return tuple(
            reading.scalar(select(func.count()).select_from(table))
            for table in (AsyncRequest, AsyncBody)
        )


def test_a_day_after_the_end_nothing_is_left(ada: Account, platform: Platform, clock: Any) -> None:
    ended = ask_async(ada)["id"]
    _end(platform, ended)
    ask_async(ada)
    assert _rows(platform) == (2, 3)

    clock.advance(hours=24, seconds=-1)
    housekeeping.tend(platform)
    assert _rows(platform) == (2, 3)
    clock.advance(seconds=1)
    housekeeping.tend(platform)
    assert _rows(platform) == (1, 1)


def test_what_waits_in_an_older_copy_of_the_database_is_not_performed_again(
    ada: Account, platform: Platform
) -> None:
    asked = ask_async(ada)["id"]
    housekeeping.begin(platform)
    with platform.database.reads() as reading:
        assert reading.get_one(AsyncRequest, asked).status is RequestStatus.QUEUED
    (platform.settings.home / housekeeping.RESTORED).touch()

    housekeeping.begin(platform)

    with platform.database.reads() as reading:
        assert reading.get_one(AsyncRequest, asked).status is RequestStatus.CANCELLED
