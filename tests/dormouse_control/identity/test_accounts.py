"""Registration, signing in, and who is calling."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from dormouse import tokens
from dormouse_control import keys
from dormouse_control.identity.models import User, UserSession, UserStatus
from dormouse_control.wiring import Platform

CREDENTIALS = {"email": "ada@example.org", "password": "correct horse battery"}


def test_registering_answers_the_account(client: TestClient) -> None:
    answer = client.post("/api/v1/registrations", json=CREDENTIALS | {"email": "Ada@Example.org"})

    assert answer.status_code == 201
    body = answer.json()
    assert body.pop("id").startswith("usr_")
    assert body == {"email": "ada@example.org", "status": "active"}


@pytest.mark.usefixtures("ada")
def test_an_address_is_registered_once_in_any_spelling(client: TestClient) -> None:
    answer = client.post("/api/v1/registrations", json=CREDENTIALS | {"email": "ADA@example.ORG"})

    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "email_taken"


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"email": "ada"}, "invalid_value", "email"),
        ({"email": 7}, "invalid_value", "email"),
        ({"email": None}, "invalid_value", "email"),
        ({"email": "\ud800@x.de"}, "invalid_value", "email"),
        ({"password": "short"}, "invalid_value", "password"),
        ({"password": "x" * 1025}, "invalid_value", "password"),
        ({"password": "éa" * 400}, "invalid_value", "password"),
        ({"password": "nul\x00 inside"}, "invalid_value", "password"),
        ({"password": "ada@example.org"}, "invalid_value", "password"),
        ({"tier": "gold"}, "unknown_parameter", "tier"),
        ({"status": "active"}, "unknown_parameter", "status"),
        ({"id": "usr_1"}, "unknown_parameter", "id"),
    ],
)
def test_bad_registrations_name_the_field(
    client: TestClient, change: dict[str, Any], code: str, param: str
) -> None:
    answer = client.post(
        "/api/v1/registrations",
        content=json.dumps(CREDENTIALS | change),
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == "invalid_request_error"
    assert str(change[param]) not in answer.text or param == "email"


def test_a_missing_field_is_named(client: TestClient) -> None:
    answer = client.post("/api/v1/sessions", json={"email": "ada@example.org"})

    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("missing_required_parameter", "password")


@pytest.mark.usefixtures("ada")
def test_signing_in_gives_a_pair_of_tokens(client: TestClient) -> None:
    answer = client.post("/api/v1/sessions", json=CREDENTIALS | {"email": "ADA@example.org"})

    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (body["token_type"], body["expires_in"]) == ("bearer", 600)


@pytest.mark.usefixtures("ada")
def test_wrong_password_unknown_user_and_disabled_user_look_the_same(
    client: TestClient, sign_up: Callable[..., Any], platform: Platform
) -> None:
    bob = sign_up("bob@example.org")
    _disable(platform, bob.id)
    answers = [
        client.post("/api/v1/sessions", json=CREDENTIALS | change)
        for change in (
            {"password": "wrong horse"},
            {"email": "nobody@example.org"},
            {"email": "not an address"},
            {"email": "bob@example.org"},
        )
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["error"]["code"] == "invalid_credentials"


def test_me_is_the_caller(ada: Any) -> None:
    assert ada.get("/api/v1/me").json() == {
        "id": ada.id,
        "email": "ada@example.org",
        "status": "active",
        "role": "user",
        "tier": "standard",
        "created_at": "2030-01-01T00:00:00Z",
        "credential": "session",
    }


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "dm_abc"])
def test_no_credentials_is_said_so(client: TestClient, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = client.get("/api/v1/me", headers=headers)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "missing_credentials"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "credential",
    ["dm_", "dm_' OR 1=1--", "dm_%", "dm_" + "x" * 43, "a.b.c", "é", "eyJ.eyJ.x", "x" * 9000],
)
@pytest.mark.usefixtures("ada")
def test_wrong_credentials_are_refused(client: TestClient, credential: str) -> None:
    headers = {"authorization": b"Bearer " + credential.encode()}
    answer = client.get("/api/v1/me", headers=headers)

    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_two_authorization_headers_are_refused(client: TestClient, ada: Any) -> None:
    good = f"Bearer {ada.access_token}"
    answer = client.get("/api/v1/me", headers=[("authorization", good), ("authorization", good)])

    assert answer.status_code == 401


def test_other_kinds_of_token_are_refused(client: TestClient, ada: Any, platform: Platform) -> None:
    now = int(platform.clock().timestamp())
    session = tokens.decode(
        ada.access_token, typ="at+jwt", audience="dormouse", keys=platform.access_keys, now=now
    )
    internal = keys.load_signing_key(platform.settings.keys_folder, "internal")
    forged = [
        tokens.sign(session, typ="at+jwt", key=internal),
        tokens.sign(session, typ="dm-internal+jwt", key=platform.signing.access),
        tokens.sign(session | {"aud": "other"}, typ="at+jwt", key=platform.signing.access),
        tokens.sign(session | {"sub": "usr_x"}, typ="at+jwt", key=platform.signing.access),
        tokens.sign(session | {"sid": "ses_x"}, typ="at+jwt", key=platform.signing.access),
        tokens.sign(session | {"sid": None}, typ="at+jwt", key=platform.signing.access),
        ada.refresh_token,
    ]
    statuses = {
        client.get("/api/v1/me", headers={"authorization": f"Bearer {token}"}).status_code
        for token in forged
    }

    assert statuses == {401}
    assert ada.get("/api/v1/me").status_code == 200


def test_an_access_token_expires(ada: Any, clock: Any) -> None:
    clock.advance(seconds=599)
    assert ada.get("/api/v1/me").status_code == 200
    clock.advance(seconds=2)
    assert ada.get("/api/v1/me").status_code == 401


def test_a_disabled_user_is_refused_with_every_credential(ada: Any, platform: Platform) -> None:
    key = ada.key()["key"]
    _disable(platform, ada.id)

    assert ada.get("/api/v1/me").status_code == 401
    answer = ada.client.get("/api/v1/me", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 401
    refresh = {"refresh_token": ada.refresh_token}
    assert ada.client.post("/api/v1/sessions/refresh", json=refresh).status_code == 401


def test_parallel_registrations_of_one_address_make_one_account(
    installation: Any, at_once: Callable[..., list[Any]]
) -> None:
    answers = at_once(
        16, lambda: installation.client.post("/api/v1/registrations", json=CREDENTIALS)
    )

    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == 1
    # 503: more than may wait for a hash.
    assert set(statuses) <= {201, 409, 503}
    with installation.platform.database.reads() as reading:
        assert reading.scalar(select(func.count()).select_from(User)) == 1


@pytest.mark.usefixtures("ada")
def test_a_password_changed_while_signing_in_opens_no_session(
    platform: Platform, client: TestClient
) -> None:
    fits = platform.passwords.fits

    def slow(password: str, known: str | None) -> bool:
        with platform.database.sessions.begin() as session:
            session.execute(update(User).values(password_hash="changed"))
        return fits(password, known)

    platform.passwords.fits = slow  # type: ignore[method-assign]
    answer = client.post("/api/v1/sessions", json=CREDENTIALS)

    assert answer.status_code == 401
    with platform.database.reads() as reading:
        assert reading.scalar(select(func.count()).select_from(UserSession)) == 1


@pytest.mark.usefixtures("ada")
def test_hashing_does_not_hold_the_database(platform: Platform, client: TestClient) -> None:
    """Others write, and use its connections, while a password is being checked and made."""
    fits, hash = platform.passwords.fits, platform.passwords.hash
    wrote = []

    def write() -> None:
        assert platform.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        with platform.database.sessions.begin() as session:
            session.execute(update(User).values(tier="standard"))
        wrote.append(True)

    platform.passwords.fits = lambda *a: (write(), fits(*a))[1]  # type: ignore[method-assign]
    platform.passwords.hash = lambda *a: (write(), hash(*a))[1]  # type: ignore[method-assign]

    assert client.post("/api/v1/sessions", json=CREDENTIALS).status_code == 201
    other = CREDENTIALS | {"email": "bob@example.org"}
    assert client.post("/api/v1/registrations", json=other).status_code == 201
    assert len(wrote) == 2


def _disable(platform: Platform, user: str) -> None:
    with platform.database.sessions.begin() as session:
        session.execute(update(User).where(User.id == user).values(status=UserStatus.DISABLED))
