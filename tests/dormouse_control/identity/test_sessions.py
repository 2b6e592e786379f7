"""Refreshing and ending sessions."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select, update
from starlette.testclient import TestClient

from dormouse_control.identity.models import UserSession
from dormouse_control.wiring import Platform


def _refresh(client: TestClient, token: str) -> Any:
    return client.post("/api/v1/sessions/refresh", json={"refresh_token": token})


def test_refreshing_gives_a_new_pair_and_keeps_the_session(client: TestClient, ada: Any) -> None:
    answer = _refresh(client, ada.refresh_token)

    assert answer.status_code == 200
    pair = answer.json()
    assert pair["refresh_token"] != ada.refresh_token
    headers = {"authorization": f"Bearer {pair['access_token']}"}
    assert client.get("/api/v1/me", headers=headers).json()["id"] == ada.id
    assert _refresh(client, pair["refresh_token"]).status_code == 200


def test_a_lost_reply_can_be_asked_for_again(client: TestClient, ada: Any, clock: Any) -> None:
    first = _refresh(client, ada.refresh_token).json()
    clock.advance(seconds=10)
    again = _refresh(client, ada.refresh_token)

    assert again.status_code == 200
    assert again.json()["refresh_token"] == first["refresh_token"]
    assert _refresh(client, first["refresh_token"]).status_code == 200


def test_a_token_used_again_later_ends_the_session(
    client: TestClient, ada: Any, clock: Any
) -> None:
    child = _refresh(client, ada.refresh_token).json()["refresh_token"]
    clock.advance(seconds=11)

    replay = _refresh(client, ada.refresh_token)

    assert replay.status_code == 401
    assert replay.json()["error"]["code"] == "invalid_credentials"
    assert _refresh(client, child).status_code == 401
    assert ada.get("/api/v1/me").status_code == 401


def test_a_token_whose_child_was_used_ends_the_session(client: TestClient, ada: Any) -> None:
    child = _refresh(client, ada.refresh_token).json()["refresh_token"]
    grandchild = _refresh(client, child).json()["refresh_token"]

    assert _refresh(client, ada.refresh_token).status_code == 401
    assert _refresh(client, grandchild).status_code == 401


def test_a_token_newer_than_the_database_ends_the_session(
    client: TestClient, ada: Any, platform: Platform
) -> None:
    """As after restoring a backup: what was given out since must not live twice."""
    child = _refresh(client, ada.refresh_token).json()["refresh_token"]
    with platform.database.sessions.begin() as session:
        session.execute(update(UserSession).values(seq=0, rotated_at=None))

    assert _refresh(client, child).status_code == 401
    assert _refresh(client, ada.refresh_token).status_code == 401


def test_a_made_up_token_ends_nobodys_session(client: TestClient, ada: Any) -> None:
    family, seq, mac = ada.refresh_token.split(".")
    for made_up in (f"{family}.{seq}.{'A' * 43}", f"{family}.1.{mac}", "x", ada.access_token[:100]):
        assert _refresh(client, made_up).status_code == 401

    assert _refresh(client, ada.refresh_token).status_code == 200


def test_a_session_ends_for_good_after_its_longest_life(
    client: TestClient, ada: Any, clock: Any
) -> None:
    token = ada.refresh_token
    for _ in range(3):
        clock.advance(days=9)
        token = _refresh(client, token).json()["refresh_token"]
    clock.advance(days=3)

    assert _refresh(client, token).status_code == 401


def test_an_access_token_does_not_outlive_its_session(
    client: TestClient, ada: Any, clock: Any
) -> None:
    token = ada.refresh_token
    for _ in range(2):
        clock.advance(days=13)
        token = _refresh(client, token).json()["refresh_token"]
    clock.advance(days=3, hours=23, minutes=55)

    assert _refresh(client, token).json()["expires_in"] == 300


def test_signing_out_ends_the_session_at_once(
    client: TestClient, ada: Any, internal: TestClient
) -> None:
    assert ada.delete("/api/v1/sessions/current").status_code == 204

    assert ada.get("/api/v1/me").status_code == 401
    assert _refresh(client, ada.refresh_token).status_code == 401
    (item,) = internal.get("/internal/v1/revocations?after=0").json()["items"]
    assert (item["kind"], item["id"]) == ("session", ada.refresh_token.split(".")[0])


def test_signing_out_leaves_other_sessions(client: TestClient, ada: Any) -> None:
    credentials = {"email": ada.email, "password": "correct horse battery"}
    other = client.post("/api/v1/sessions", json=credentials).json()
    ada.delete("/api/v1/sessions/current")

    assert _refresh(client, other["refresh_token"]).status_code == 200


def test_a_key_has_no_session_to_end(client: TestClient, ada: Any) -> None:
    headers = {"authorization": f"Bearer {ada.key()['key']}"}
    answer = client.delete("/api/v1/sessions/current", headers=headers)

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "session_required"


def test_parallel_refreshes_of_one_token_make_one_new_pair(
    installation: Any, at_once: Callable[..., list[Any]]
) -> None:
    token = installation.sign_up().refresh_token
    for round in range(1, 6):
        answers = at_once(16, lambda token=token: _refresh(installation.client, token))

        assert {answer.status_code for answer in answers} == {200}
        (token,) = {answer.json()["refresh_token"] for answer in answers}
        with installation.platform.database.reads() as reading:
            family = reading.scalars(select(UserSession)).one()
            assert (family.seq, family.revoked_at) == (round, None)


def test_parallel_replays_revoke_once(
    installation: Any, at_once: Callable[..., list[Any]], clock: Any
) -> None:
    ada = installation.sign_up()
    _refresh(installation.client, ada.refresh_token)
    clock.advance(seconds=11)

    answers = at_once(16, lambda: _refresh(installation.client, ada.refresh_token))

    assert {answer.status_code for answer in answers} == {401}
    news = installation.internal.get("/internal/v1/revocations?after=0").json()
    assert len(news["items"]) == 1
