"""Changing the password, and the list of sessions."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from dormouse_control.identity.models import UserSession
from dormouse_control.mail.models import Mail, MailKind
from dormouse_control.wiring import Platform
from fixtures.control_plane import PASSWORD, Account

NEW = "violet tram eats moss"


def _change(account: Any, **changes: str) -> Any:
    return account.put("/api/v1/me/password", {"current": PASSWORD, "new": NEW, **changes})


def _sign_in(client: TestClient, password: str = PASSWORD, **headers: str) -> Any:
    body = {"email": "ada@example.org", "password": password}
    return client.post("/api/v1/sessions", json=body, headers=headers)


def _ids(account: Any) -> list[str]:
    return [each["id"] for each in account.get("/api/v1/sessions").json()["items"]]


def test_a_new_password_ends_every_session_and_opens_one(installation: Any) -> None:
    client, ada = installation.client, installation.sign_up()
    other = _sign_in(client).json()
    answer = _change(ada)

    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "refresh_token", "token_type", "expires_in"}
    for access in (ada.access_token, other["access_token"]):
        headers = {"authorization": f"Bearer {access}"}
        assert client.get("/api/v1/me", headers=headers).status_code == 401
    now = Account(client, ada.id, ada.email, **_tokens(answer))
    assert len(_ids(now)) == 1
    assert _sign_in(client).status_code == 401
    assert _sign_in(client, NEW).status_code == 201


def _tokens(answer: Any) -> dict[str, str]:
    return {name: answer.json()[name] for name in ("access_token", "refresh_token")}


def test_the_owner_is_told_by_mail(ada: Any, platform: Platform) -> None:
    _change(ada)
    with platform.database.reads() as reading:
        (mail,) = reading.scalars(select(Mail).where(Mail.kind == MailKind.CHANGED))
    assert (mail.address, mail.about) == (ada.email, "password")


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"current": "wrong horse battery"}, 401, None),
        ({"new": "short"}, 422, "password"),
        ({"new": "password12345678"}, 422, "password"),
        ({"new": "ada@example.org-1"}, 422, "password"),
        ({"extra": "x"}, 422, "extra"),
    ],
)
def test_a_refused_change_changes_nothing(
    client: TestClient, ada: Any, change: dict[str, str], status: int, param: str | None
) -> None:
    answer = _change(ada, **change)

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert ada.get("/api/v1/me").status_code == 200
    assert _sign_in(client).status_code == 201


def test_of_many_changes_at_once_one_counts(
    installation: Any, at_once: Callable[..., list[Any]]
) -> None:
    ada = installation.sign_up()
    answers = at_once(6, lambda: _change(ada))

    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[200] == 1
    assert set(statuses) <= {200, 401, 503}
    with installation.platform.database.reads() as reading:
        living = reading.scalars(select(UserSession).where(UserSession.revoked_at.is_(None))).all()
    assert len(living) == 1


def test_sessions_are_listed_as_their_owner_knows_them(client: TestClient, ada: Any) -> None:
    headers = {"x-envoy-external-address": "192.0.2.1", "user-agent": "Fire\x1bfox " + "9" * 300}
    _sign_in(client, **headers)
    newest, oldest = ada.get("/api/v1/sessions").json()["items"]

    assert (newest["current"], oldest["current"]) == (False, True)
    assert newest["address"] == "192.0.2.1"
    assert newest["user_agent"] == ("Firefox " + "9" * 300)[:200]
    assert (newest["method"], newest["second_factor"]) == ("password", False)
    assert oldest["id"] == ada.refresh_token.partition(".")[0]


def test_pages_of_sessions_follow_each_other_and_belong_to_their_reader(
    client: TestClient, ada: Any, sign_up: Callable[..., Any]
) -> None:
    for _ in range(4):
        _sign_in(client)
    seen, after = [], ""
    for _ in range(3):
        page = ada.get(f"/api/v1/sessions?limit=2{after}").json()
        seen += [each["id"] for each in page["items"]]
        after = f"&after={page['next']}"
    assert page["next"] is None
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 5
    first = ada.get("/api/v1/sessions?limit=2").json()["next"]
    bob = sign_up("bob@example.org")
    assert bob.get(f"/api/v1/sessions?after={first}").json()["error"]["code"] == "invalid_cursor"


def test_one_or_all_other_sessions_can_be_ended(client: TestClient, ada: Any) -> None:
    others = [_sign_in(client).json()["refresh_token"].partition(".")[0] for _ in range(3)]
    assert ada.delete(f"/api/v1/sessions/{others[0]}").status_code == 204
    assert ada.delete(f"/api/v1/sessions/{others[0]}").status_code == 404
    assert set(_ids(ada)) == {*others[1:], ada.refresh_token.partition(".")[0]}
    assert ada.delete("/api/v1/sessions/others").status_code == 204
    assert _ids(ada) == [ada.refresh_token.partition(".")[0]]
    assert ada.delete("/api/v1/sessions/others").status_code == 204


def test_sessions_that_ended_by_themselves_are_not_listed(
    client: TestClient, ada: Any, clock: Any
) -> None:
    clock.advance(days=15)
    tokens = _tokens(_sign_in(client))
    now = Account(client, ada.id, ada.email, **tokens)
    assert _ids(now) == [tokens["refresh_token"].partition(".")[0]]
    old = ada.refresh_token.partition(".")[0]
    assert now.delete(f"/api/v1/sessions/{old}").status_code == 404
