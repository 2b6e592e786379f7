import asyncio
import hashlib
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text, update
from starlette.testclient import TestClient

from dormouse_control.app import internal_app, public_app
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind, User, UserStatus
from dormouse_control.migrations.run import upgrade
from dormouse_control.tiers.models import Tier
from dormouse_control.wiring import Platform, build


def _key(internal: TestClient, key: str) -> Any:
    digest = hashlib.sha256(key.encode()).hexdigest()
    return internal.post("/internal/v1/principals", json={"kind": "key", "sha256": digest})


def _session(internal: TestClient, user: Any) -> Any:
    session = user.refresh_token.split(".")[0]
    question = {"kind": "session", "user": user.id, "session": session}
    return internal.post("/internal/v1/principals", json=question)


def test_a_key_stands_for_its_owner(internal: TestClient, ada: Any) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    made = ada.key()

    assert _key(internal, made["key"]).json() == {
        "user": ada.id,
        "credential": made["id"],
        "tier": "standard",
        "highest_priority": 0,
        "requests_per_minute": 600,
        "key_requests_per_minute": None,
        "entitlements": {"chat": None},
        "services": None,
        "models": None,
        "endpoints": None,
        "ip_ranges": None,
        "expires_at": None,
        "over_budget": False,
        "asked_again_at": None,
        "limits": [
            {
                "subject": ada.id,
                "service": None,
                "requests_per_minute": 600,
                "tokens_per_minute": 10_000_000,
                "concurrent": 1000,
            }
        ],
        "budgeted": False,
        "refuse_gpu": False,
        "max_queued": None,
        "max_body": None,
        "tags": {},
    }


def test_a_narrowed_key_tells_its_limits_and_no_right_outside_them(
    internal: TestClient, ada: Any, platform: Platform, clock: Any
) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    limits = {
        "models": ["small"],
        "endpoints": ["completions"],
        "ip_ranges": ["192.0.2.0/24"],
        "requests_per_minute": 3,
        "expires_at": (clock() + timedelta(hours=1)).isoformat(),
    }
    made = ada.post("/api/v1/keys", {"name": "k", "services": ["chat"], **limits}).json()
    with platform.database.sessions.begin() as session:
        session.execute(update(Tier).values(requests_per_minute=7, highest_priority=1))

    found = _key(internal, made["key"]).json()

    assert {name: found[name] for name in limits} == limits | {
        "requests_per_minute": 7,
        "expires_at": int((clock() + timedelta(hours=1)).timestamp()),
    }
    assert (found["key_requests_per_minute"], found["highest_priority"]) == (3, 1)
    ada.delete("/api/v1/entitlements/chat")
    assert _key(internal, made["key"]).json()["entitlements"] == {}
    clock.advance(hours=1)
    assert _key(internal, made["key"]).status_code == 404


def test_all_limits_that_a_call_counts_on_are_told(
    internal: TestClient, ada: Any, platform: Platform
) -> None:
    limits = {"tokens_per_minute": 50, "concurrent_calls": 2}
    tags = {"project": "atlas"}
    made = ada.post("/api/v1/keys", {"name": "k", "tags": tags, **limits}).json()
    wanted = {"tokens_per_minute": 70, "concurrent_calls": 4, "queued_calls": 3, "max_body_mb": 2}
    with platform.database.sessions.begin() as session:
        session.execute(update(Tier).values(requests_per_minute=7, **wanted))

    found = _key(internal, made["key"]).json()

    names = ("subject", "service", "requests_per_minute", "tokens_per_minute", "concurrent")
    assert [tuple(each[name] for name in names) for each in found["limits"]] == [
        (made["id"], None, None, 50, 2),
        (ada.id, None, 7, 70, 4),
    ]
    assert (found["max_queued"], found["max_body"], found["tags"]) == (3, 2 * 2**20, tags)
    session = _session(internal, ada).json()
    assert [each["subject"] for each in session["limits"]] == [ada.id]
    assert session["tags"] == {}


def test_a_session_stands_for_its_user_until_it_expires(
    internal: TestClient, ada: Any, clock: Any
) -> None:
    found = _session(internal, ada).json()

    assert (found["user"], found["credential"]) == (ada.id, ada.refresh_token.split(".")[0])
    assert found["expires_at"] == int((clock() + timedelta(days=30)).timestamp())
    clock.advance(days=30)
    assert _session(internal, ada).status_code == 404


def test_a_session_of_somebody_else_is_not_found(
    internal: TestClient, ada: Any, sign_up: Callable[..., Any]
) -> None:
    ada.id = sign_up("bob@example.org").id

    assert _session(internal, ada).status_code == 404


def test_what_was_taken_back_is_not_found(
    internal: TestClient, ada: Any, platform: Platform
) -> None:
    made = ada.key()
    other = ada.key()
    ada.delete(f"/api/v1/keys/{made['id']}")
    assert _key(internal, made["key"]).status_code == 404
    assert _key(internal, "dm_unknown").json()["error"]["code"] == "not_found"

    assert _key(internal, other["key"]).status_code == 200
    with platform.database.sessions.begin() as session:
        session.execute(update(User).values(status=UserStatus.DISABLED))
    assert _key(internal, other["key"]).status_code == 404
    assert _session(internal, ada).status_code == 404


@pytest.mark.parametrize(
    "question",
    [{}, {"kind": "x"}, {"kind": "key"}, {"kind": "key", "sha256": "A" * 64}, {"kind": "session"}],
)
def test_bad_questions_are_refused(internal: TestClient, question: object) -> None:
    assert internal.post("/internal/v1/principals", json=question).status_code == 422


def test_routes_name_models_and_aliases(internal: TestClient) -> None:
    route = {
        "service": "chat",
        "model": "small",
        "endpoints": ["chat.completions", "completions"],
        "context": 128,
        "gpu": False,
        "reserve": {"chat.completions": [614_400, 0], "completions": [9_830_400, 0]},
        "max_body": None,
    }

    told = internal.get("/internal/v1/routes").json()
    assert told["models"] == {"small": route, "gpt-4o-mini": route}


def _news(internal: TestClient, after: int, wait: float = 0) -> Any:
    return internal.get(f"/internal/v1/revocations?after={after}&wait={wait}").json()


def test_revocations_come_in_order_after_a_number(internal: TestClient, ada: Any) -> None:
    assert _news(internal, 0) == {"last": 0, "reset": False, "items": []}
    keys = [ada.key()["id"] for _ in range(3)]
    for key in keys:
        ada.delete(f"/api/v1/keys/{key}")

    found = _news(internal, 1)

    assert found == {
        "last": 3,
        "reset": False,
        "items": [
            {"seq": 2, "kind": "key", "id": keys[1], "service": None, "cuts": True},
            {"seq": 3, "kind": "key", "id": keys[2], "service": None, "cuts": True},
        ],
    }
    assert _news(internal, 3) == {"last": 3, "reset": False, "items": []}


def test_who_begins_to_follow_hears_what_is_recent(
    internal: TestClient, platform: Platform, clock: Any
) -> None:
    _record(platform, clock)
    clock.advance(minutes=2)
    _record(platform, clock)
    clock.advance(minutes=1)

    news = _news(internal, -1, wait=20)

    assert (news["last"], news["reset"]) == (2, False)
    assert [item["seq"] for item in news["items"]] == [2]


def test_a_reader_from_the_future_must_forget_everything(internal: TestClient) -> None:
    assert _news(internal, 5, wait=20) == {"last": 0, "reset": True, "items": []}


def test_a_reader_who_was_away_too_long_must_forget_everything(
    internal: TestClient, platform: Platform, clock: Any
) -> None:
    for _ in range(3):
        _record(platform, clock)
    clock.advance(days=2)
    _record(platform, clock)
    with platform.database.sessions.begin() as session:
        revocations.prune(session, now=clock())

    assert _news(internal, 2) == {"last": 4, "reset": True, "items": []}
    assert [item["seq"] for item in _news(internal, 3)["items"]] == [4]


def test_pruning_keeps_the_position_of_the_stream(
    internal: TestClient, platform: Platform, clock: Any
) -> None:
    for _ in range(3):
        _record(platform, clock)
    clock.advance(days=2)
    with platform.database.sessions.begin() as session:
        revocations.prune(session, now=clock())

    assert _news(internal, 3) == {"last": 3, "reset": False, "items": []}
    _record(platform, clock)
    assert [item["seq"] for item in _news(internal, 3)["items"]] == [4]


def test_a_waiting_reader_learns_of_news_at_once(
    internal: TestClient, ada: Any, platform: Platform
) -> None:
    made = ada.key()
    revoked: list[float] = []

    def revoke() -> None:
        time.sleep(0.3)
        ada.delete(f"/api/v1/keys/{made['id']}")
        revoked.append(time.monotonic())

    thread = threading.Thread(target=revoke)
    thread.start()
    found = _news(internal, 0, wait=10)
    heard = time.monotonic()
    thread.join()

    assert [item["id"] for item in found["items"]] == [made["id"]]
    assert heard - revoked[0] < 5  # not when the ten seconds were over
    assert platform.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_waiting_reader_without_news_is_answered_in_time(internal: TestClient) -> None:
    started = time.monotonic()

    assert _news(internal, 0, wait=0.4) == {"last": 0, "reset": False, "items": []}
    assert 0.3 < time.monotonic() - started < 2


def test_waiting_readers_hold_no_connection(platform: Platform, ada: Any) -> None:
    """More of them than the pool has connections, and others are served meanwhile."""

    async def run() -> None:
        app = internal_app(platform)
        inside = httpx.ASGITransport(app)
        outside = httpx.ASGITransport(public_app(platform))
        url = "http://x/internal/v1/revocations?after=0&wait=25"
        headers = {"authorization": f"Bearer {ada.access_token}"}
        async with httpx.AsyncClient(transport=inside) as readers:
            waiting = [asyncio.create_task(readers.get(url)) for _ in range(30)]
            await asyncio.sleep(0.3)
            async with httpx.AsyncClient(transport=outside) as caller:
                assert (await caller.get("http://x/api/v1/me", headers=headers)).status_code == 200
            assert [reader.result().text for reader in waiting if reader.done()] == []
            app.state.draining.set()
            assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}

    asyncio.run(run())


def test_draining_answers_waiting_readers(internal: TestClient) -> None:
    internal.app.state.draining.set()  # type: ignore[attr-defined]
    started = time.monotonic()

    _news(internal, 0, wait=20)

    assert time.monotonic() - started < 2


@pytest.mark.parametrize("query", ["", "after=x", "after=-2", "after=0&wait=26", "after=0&wait=-1"])
def test_bad_readers_are_refused(internal: TestClient, query: str) -> None:
    assert internal.get(f"/internal/v1/revocations?{query}").status_code == 422


@pytest.mark.postgres
def test_numbers_appear_in_their_order_on_postgres(
    new_postgres_database: str, settings: Any, clock: Any
) -> None:
    """A writer who is slow to commit holds back later numbers, or a reader would miss its own."""
    platform = build(
        settings.model_copy(update={"database_url": new_postgres_database}), clock=clock
    )
    upgrade(platform.database.engine)
    with platform.database.sessions() as slow:
        revocations.record(slow, RevocationKind.USER, "usr_slow", now=clock())
        other = threading.Thread(target=_record, args=(platform, clock))
        other.start()
        other.join(0.3)
        assert other.is_alive()
        with platform.database.reads() as reading:
            assert revocations.news(reading, after=0).items == []
        slow.commit()
    other.join()
    with platform.database.reads() as reading:
        assert [row.seq for row in revocations.news(reading, after=0).items] == [1, 2]
        assert reading.scalar(text("SELECT count(*) FROM revocation")) == 2
    platform.database.engine.dispose()


def test_the_public_application_does_not_have_the_internal_api(
    client: TestClient, ada: Any
) -> None:
    assert client.get("/internal/v1/routes").status_code == 404
    assert ada.post("/internal/v1/events", {"events": []}).status_code == 404


def _record(platform: Platform, clock: Any) -> None:
    with platform.database.sessions.begin() as session:
        revocations.record(session, RevocationKind.USER, "usr_1", now=clock())
