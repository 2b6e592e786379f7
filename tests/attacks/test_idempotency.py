"""T108, R11, R12, R13: a request sent again with its key happens once, and for its owner only."""

import hashlib
from typing import Any, get_type_hints

import pytest
from sqlalchemy import func, select, update

from dormouse_control import deps
from dormouse_control.idempotency import operations
from dormouse_control.idempotency.models import StoredReply
from dormouse_control.idempotency.route import RepeatableRoute
from dormouse_control.identity.models import ApiKey

BODY = {"name": "laptop"}


def keyed(account: Any, key: str, body: Any = None, path: str = "/api/v1/keys") -> Any:
    headers = {"authorization": f"Bearer {account.access_token}", "idempotency-key": key}
    return account.client.post(path, json=BODY if body is None else body, headers=headers)


def count(platform: Any, what: Any = ApiKey.id) -> int:
    with platform.database.reads() as reading:
        return int(reading.scalar(select(func.count(what))) or 0)


def test_t108_the_same_request_again_gets_the_same_reply_and_has_one_effect(installation) -> None:
    ada = installation.sign_up()
    first = keyed(ada, "one")
    again = [keyed(ada, "one") for _ in range(20)]

    assert first.status_code == 201
    assert "idempotent-replayed" not in first.headers
    assert {each.headers["idempotent-replayed"] for each in again} == {"true"}
    assert {(each.status_code, each.text) for each in again} == {(201, first.text)}
    assert {each.headers["content-type"] for each in again} == {"application/json"}
    assert count(installation.platform) == 1
    assert keyed(ada, "two").json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    "other",
    [{"name": "phone"}, {}, {"name": "laptop", "extra": 1}, {"name": ""}],
    ids=["other", "empty", "more", "invalid"],
)
def test_t108_the_same_key_for_another_body_is_refused(ada, platform, other) -> None:
    keyed(ada, "one")
    answer = keyed(ada, "one", other)

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert count(platform) == 1


def test_t108_the_same_key_for_another_object_is_refused(administrator, sign_up) -> None:
    first, second = sign_up("one@example.org"), sign_up("two@example.org")
    headers = {
        "authorization": f"Bearer {administrator.access_token}",
        "idempotency-key": "grant",
    }
    put = administrator.client.put
    granted = put(f"/api/v1/users/{first.id}/entitlements/draw", json={}, headers=headers)
    other = put(f"/api/v1/users/{second.id}/entitlements/draw", json={}, headers=headers)

    assert granted.status_code == 200
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")


def test_t108_a_key_belongs_to_its_user_and_its_route(ada, sign_up, platform) -> None:
    bob = sign_up("bob@example.org")
    mine, theirs = keyed(ada, "same"), keyed(bob, "same")
    elsewhere = keyed(ada, "same", {"service": "chat"}, "/api/v1/entitlements")

    assert (mine.status_code, theirs.status_code, elsewhere.status_code) == (201, 201, 201)
    assert mine.json()["key"] != theirs.json()["key"]
    assert "idempotent-replayed" not in theirs.headers | elsewhere.headers
    assert count(platform) == 2


def test_t108_who_may_not_any_more_gets_no_old_answer(ada) -> None:
    made = keyed(ada, "one").json()["key"]
    ada.delete("/api/v1/sessions/current")
    answer = keyed(ada, "one")

    assert answer.status_code == 401
    assert made not in answer.text


@pytest.mark.parametrize(
    ("key", "status"),
    [
        ("x", 201),
        ("x" * 255, 201),
        ("~ !\"#'", 201),
        ("", 422),
        ("x" * 256, 422),
        ("x" * 8000, 422),
        ("é", 422),
        ("a\tb", 422),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_t108_a_key_is_short_printable_ascii(ada, platform, key, status) -> None:
    headers = {
        b"authorization": f"Bearer {ada.access_token}".encode(),
        b"idempotency-key": key.encode("latin-1"),
    }
    answer = ada.client.post("/api/v1/keys", json=BODY, headers=headers)

    assert answer.status_code == status
    assert count(platform) == (status == 201)


def test_t108_a_key_is_forgotten_after_a_day(ada, platform, clock) -> None:
    first = keyed(ada, "one").json()
    clock.advance(hours=24, seconds=-1)
    lasting = ada.post("/api/v1/sessions/refresh", {"refresh_token": ada.refresh_token}).json()
    ada.access_token = lasting["access_token"]
    assert keyed(ada, "one").json() == first
    clock.advance(seconds=1)

    assert keyed(ada, "one").json() != first
    assert count(platform) == 2
    assert count(platform, StoredReply.key) == 1
    clock.advance(hours=24)
    with platform.database.sessions.begin() as session:
        operations.prune(session, now=clock())
    assert count(platform, StoredReply.key) == 0


def test_t108_what_failed_is_not_remembered(ada, platform) -> None:
    assert keyed(ada, "one", {"name": 1}).status_code == 422
    assert keyed(ada, "one", {"name": ""}).status_code == 422
    assert count(platform, StoredReply.key) == 0
    assert keyed(ada, "one").status_code == 201


def test_t108_no_reply_lies_readable_in_the_database(ada, platform) -> None:
    key = keyed(ada, "one").json()["key"]
    with platform.database.reads() as reading:
        stored = reading.scalars(select(StoredReply)).one()

    assert key not in repr(vars(stored))
    assert key[:9] not in (stored.body_sealed or "")


def test_t108_a_registration_can_be_repeated(client) -> None:
    account = {"email": "new@example.org", "password": "correct horse battery"}
    send = lambda body: client.post(  # noqa: E731
        "/api/v1/registrations", json=body, headers={"idempotency-key": "register"}
    )
    first, again = send(account), send(account)

    assert (again.status_code, again.json()) == (201, first.json())
    assert send(account | {"password": "another long password"}).status_code == 422
    assert client.post("/api/v1/registrations", json=account).status_code == 409


def test_t108_what_is_stored_is_no_hash_that_a_password_can_be_guessed_from(installation) -> None:
    body = b'{"email": "ada@example.org", "password": "correct horse battery"}'
    headers = {"content-type": "application/json", "idempotency-key": "one"}
    made = installation.client.post("/api/v1/registrations", content=body, headers=headers)
    assert made.status_code == 201
    with installation.platform.database.reads() as reading:
        stored = reading.scalars(select(StoredReply)).one()

    guessed = hashlib.sha256(b"/api/v1/registrations\n\n" + body)
    assert stored.digest != guessed.hexdigest()


def test_t108_who_waits_too_long_for_the_first_is_told_to_come_back(
    installation, monkeypatch
) -> None:
    """The first has written its reply, and is not committed."""
    if installation.platform.database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: who waits too long gets 503")
    monkeypatch.setattr(operations, "_WAIT", "100ms")
    platform, ada = installation.platform, installation.sign_up()
    row = {"owner": ada.id, "route": "POST /api/v1/keys", "key": "one", "digest": "x"}
    with platform.database.sessions() as first:
        first.add(StoredReply(**row, status=None, body_sealed=None, created_at=platform.clock()))
        first.flush()
        answer = keyed(ada, "one")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_in_progress")
    assert answer.headers["retry-after"] == "1"
    assert count(platform) == 0


def test_r12_a_client_that_repeats_everything_makes_nothing_twice(ada, platform) -> None:
    _repeat(ada, platform, 30)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_r12_of_ten_thousand_repetitions_none_makes_anything(ada, platform) -> None:
    _repeat(ada, platform, 5000)


def _repeat(ada: Any, platform: Any, requests: int) -> None:
    for number in range(requests):
        made = {keyed(ada, f"key {number}", {"name": f"{number}"}).text for _ in range(3)}
        assert len(made) == 1
        keyed(ada, f"entitle {number}", {"service": "chat"}, "/api/v1/entitlements")
        if number % 50 == 49:
            # There is a limit of keys; those that were made are counted, then taken away.
            assert count(platform) == number + 1
            _revoke_keys(platform)

    assert count(platform) == requests


def test_r13_sixteen_at_once_have_one_effect(installation, at_once) -> None:
    _rounds(installation, at_once, 5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_r13_sixteen_at_once_have_one_effect_a_thousand_times(installation, at_once) -> None:
    _rounds(installation, at_once, 1000)


def _rounds(installation: Any, at_once: Any, rounds: int) -> None:
    platform, ada = installation.platform, installation.sign_up()
    for number in range(rounds):
        answers = at_once(16, lambda number=number: keyed(ada, f"round {number}"))
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert all(
            answer.json()["error"]["code"] == "idempotency_in_progress"
            for answer in answers
            if answer.status_code == 409
        )
        told = {answer.text for answer in answers if answer.status_code == 201}
        assert len(told) == 1
        assert len([a for a in answers if "idempotent-replayed" not in a.headers]) >= 1
        if number % 10 == 9:
            # There is a limit of keys; those that were made are counted, then taken away.
            assert count(platform) == number + 1
            _revoke_keys(platform)
    assert count(platform) == rounds


def _revoke_keys(platform: Any) -> None:
    with platform.database.sessions.begin() as session:
        session.execute(update(ApiKey).values(revoked_at=platform.clock()))


def test_r13_of_many_registrations_at_once_one_is_made_and_all_hear_of_it(client, at_once) -> None:
    account = {"email": "new@example.org", "password": "correct horse battery"}

    def send() -> Any:
        headers = {"idempotency-key": "register"}
        return client.post("/api/v1/registrations", json=account, headers=headers)

    answers = at_once(6, send)

    done = [answer for answer in answers if answer.status_code != 503]
    assert {answer.status_code for answer in done} == {201}
    assert len({answer.text for answer in done}) == 1


def test_what_takes_a_key_is_written_in_the_document(client) -> None:
    taking = {
        (method, path)
        for path, operations_ in client.get("/api/v1/openapi.json").json()["paths"].items()
        for method, operation in operations_.items()
        if any(each["name"] == "idempotency-key" for each in operation.get("parameters", []))
    }

    assert {
        ("post", "/api/v1/registrations"),
        ("post", "/api/v1/administrators"),
        ("post", "/api/v1/invitations"),
        ("post", "/api/v1/keys"),
        ("post", "/api/v1/entitlements"),
        ("post", "/api/v1/groups"),
        ("put", "/api/v1/tiers/{id}"),
        ("put", "/api/v1/groups/{id}/members/{user}"),
        ("put", "/api/v1/groups/{id}/entitlements/{service}"),
        ("put", "/api/v1/users/{id}/entitlements/{service}"),
    } <= taking
    # Signing in has rules of its own for a lost answer, and changes of a password end sessions.
    assert not any("/sessions" in path or "/me/" in path for _, path in taking)
    assert {method for method, _ in taking} == {"post", "put"}


# Signing in has rules of its own for a lost answer; a second factor that was begun twice is the
# later one, and so is a link to a provider.
NOT_REPEATABLE = {
    "/api/v1/sessions",
    "/api/v1/sessions/code",
    "/api/v1/me/second-factor",
    "/api/v1/me/identities/{provider}",
}


def test_every_post_that_makes_something_takes_a_key(client) -> None:
    document = client.get("/api/v1/openapi.json").json()
    making = {
        path: {each["name"] for each in item["post"].get("parameters", [])}
        for path, item in document["paths"].items()
        if "201" in item.get("post", {}).get("responses", {})
    }
    without = {path for path, names in making.items() if "idempotency-key" not in names}
    assert without == NOT_REPEATABLE
    assert len(making) > 8


def test_t108_signing_keys_are_replaced_once(administrator) -> None:
    headers = {
        "authorization": f"Bearer {administrator.access_token}",
        "idempotency-key": "rotate",
    }
    send = lambda: administrator.client.post("/api/v1/signing-keys", headers=headers)  # noqa: E731
    first, again = send(), send()
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()


def test_a_reply_is_stored_in_the_transaction_of_its_change(client) -> None:
    """Every handler that takes a key asks for the very session that the key is kept by."""
    routes = [
        route
        for included in client.app.routes
        for route in getattr(getattr(included, "original_router", None), "routes", [])
        if isinstance(route, RepeatableRoute) and route.methods & {"POST", "PUT"}
    ]

    assert len(routes) > 5
    assert [
        route.name
        for route in routes
        if deps.SessionDep not in get_type_hints(route.endpoint, include_extras=True).values()
    ] == []
