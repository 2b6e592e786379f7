"""Delegations: nobody but the control plane makes one, and nowhere else is one good."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.testclient import TestClient

from dormouse.delegation import (
    DELEGATED_AUDIENCE,
    DELEGATED_TYPE,
    Delegation,
    sign_delegation,
)
from dormouse.tokens import INTERNAL_AUDIENCE, SESSION_AUDIENCE, SESSION_TYPE, SigningKey, sign
from dormouse_control import keys
from dormouse_control.authorizer.credentials import Credentials
from dormouse_control.authorizer.refusals import Refusal
from dormouse_control.wiring import Platform
from fixtures.asynchronous import ask_async
from fixtures.control_plane import Account

CALL = "8f14e45f-ceea-467f-a0e6-1f2d3c4b5a69"

IN_THE_FUTURE = 4_000_000_000  # the same in every process that collects these tests


@pytest.fixture
def credentials(platform: Platform) -> Credentials:
    folder = platform.settings.keys_folder
    return Credentials(keys.key_ring(folder, "access"), keys.key_ring(folder, "delegated"))


@pytest.fixture
def claims(ada: Account) -> dict[str, Any]:
    """Of a good one, by the machine's clock, as the authorizer goes."""
    now = int(time.time())
    return {
        "iss": "dormouse",
        "aud": DELEGATED_AUDIENCE,
        "iat": now,
        "exp": now + 30,
        "sub": ada.id,
        "crd": "key_1",
        "rid": CALL,
    }


@pytest.fixture
def delegated(platform: Platform) -> SigningKey:
    return keys.load_signing_key(platform.settings.keys_folder, "delegated")


def _refused(read: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        read()
    assert (caught.value.status, caught.value.code) in (
        (401, "invalid_api_key"),
        (401, "missing_credentials"),
    )


def test_a_good_one_says_whose_call_it_is(
    credentials: Credentials, claims: dict[str, Any], delegated: SigningKey, ada: Account
) -> None:
    token = sign({**claims, "adr": "192.0.2.7"}, typ=DELEGATED_TYPE, key=delegated)
    found = credentials.read_delegated(f"Bearer {token}", CALL)

    assert found.question == {"kind": "delegated", "user": ada.id, "credential": "key_1"}
    assert (found.delegated, found.address) == (True, "192.0.2.7")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": SESSION_AUDIENCE},
        {"aud": INTERNAL_AUDIENCE},
        {"aud": [DELEGATED_AUDIENCE]},
        {"iss": "somebody"},
        {"exp": 1, "iat": 0},
        {"exp": IN_THE_FUTURE},
        {"iat": IN_THE_FUTURE, "exp": IN_THE_FUTURE + 10},
        {"exp": None},
        {"sub": None},
        {"sub": "usr_1' OR 1"},
        {"crd": None},
        {"crd": 7},
        {"rid": "another"},
        {"rid": None},
        {"adr": 7},
    ],
    ids=str,
)
def test_one_that_says_something_else_is_none(
    credentials: Credentials,
    claims: dict[str, Any],
    delegated: SigningKey,
    changes: dict[str, Any],
) -> None:
    token = sign(claims | changes, typ=DELEGATED_TYPE, key=delegated)
    _refused(lambda: credentials.read_delegated(f"Bearer {token}", CALL))


@pytest.mark.parametrize("typ", [SESSION_TYPE, "dm-internal+jwt", "JWT", "DM-DELEGATED+JWT", ""])
def test_one_of_another_type_is_none(
    credentials: Credentials, claims: dict[str, Any], delegated: SigningKey, typ: str
) -> None:
    token = sign(claims, typ=typ, key=delegated)
    _refused(lambda: credentials.read_delegated(f"Bearer {token}", CALL))


def test_no_other_key_makes_one(
    platform: Platform, credentials: Credentials, claims: dict[str, Any], delegated: SigningKey
) -> None:
    folder = platform.settings.keys_folder
    private = Ed25519PrivateKey.generate()
    others = [keys.load_signing_key(folder, purpose) for purpose in ("access", "internal")]
    others += [SigningKey(delegated.kid, private), SigningKey("delegated-stranger", private)]
    others += [SigningKey(delegated.kid, others[0].private)]
    for key in others:
        token = sign(claims, typ=DELEGATED_TYPE, key=key)
        _refused(lambda token=token: credentials.read_delegated(f"Bearer {token}", CALL))


def test_it_is_good_on_the_calls_socket_only(
    credentials: Credentials,
    client: TestClient,
    ada: Account,
    delegated: SigningKey,
    clock: Any,
) -> None:
    """And what is good elsewhere is not good there."""
    session = ada.get("/api/v1/sessions").json()["items"][0]["id"]
    delegation = Delegation(ada.id, session, CALL, None)
    now = sign_delegation(delegation, key=delegated, now=time.time())
    credentials.read_delegated(f"Bearer {now}", CALL)

    _refused(lambda: credentials.read(f"Bearer {now}"))
    ours = sign_delegation(delegation, key=delegated, now=clock().timestamp())
    for path in ("/api/v1/me", "/api/v1/requests", "/v1/models"):
        answer = client.get(path, headers={"authorization": f"Bearer {ours}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    for secret in (ada.access_token, ada.key()["key"]):
        _refused(lambda secret=secret: credentials.read_delegated(f"Bearer {secret}", CALL))
    for header in (None, "", f"Basic {now}", now, f"Bearer {now}, Bearer {now}"):
        _refused(lambda header=header: credentials.read_delegated(header, CALL))


def test_without_keys_for_them_there_are_none(
    platform: Platform, claims: dict[str, Any], delegated: SigningKey
) -> None:
    token = sign(claims, typ=DELEGATED_TYPE, key=delegated)
    _refused(lambda: Credentials(platform.access_keys).read_delegated(f"Bearer {token}", CALL))


def _principal(internal: TestClient, user: str, credential: str) -> Any:
    question = {"kind": "delegated", "user": user, "credential": credential}
    return internal.post("/internal/v1/principals", json=question)


def test_what_it_stands_for_is_looked_up_at_that_moment(
    internal: TestClient, ada: Account, sign_up: Callable[..., Account]
) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    key = ada.key()["id"]
    session = ada.get("/api/v1/sessions").json()["items"][0]["id"]
    bob = sign_up("bob@example.org")
    for credential in (key, session):
        found = _principal(internal, ada.id, credential)
        assert found.status_code == 200, found.text
        assert (found.json()["user"], found.json()["credential"]) == (ada.id, credential)
        assert _principal(internal, bob.id, credential).status_code == 404
    assert _principal(internal, ada.id, key).json() == _by_key(internal, ada)

    ada.delete(f"/api/v1/keys/{key}")
    assert _principal(internal, ada.id, key).status_code == 404
    ada.delete("/api/v1/sessions/current")
    assert _principal(internal, ada.id, session).status_code == 404
    assert _principal(internal, ada.id, "key_x").status_code == 404
    for wrong in ("key_' OR 1", "", "x" * 65):
        assert _principal(internal, ada.id, wrong).status_code == 422


def _by_key(internal: TestClient, ada: Account) -> Any:
    [row] = ada.get("/api/v1/keys").json()["items"]
    return _principal(internal, ada.id, row["id"]).json()


def test_what_is_stored_of_a_request_is_no_credential(platform: Platform, ada: Account) -> None:
    key = ada.key()["key"]
    ask_async(ada, credential=key)
    ask_async(ada)
    with platform.database.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM async_request").all()
        rows += connection.exec_driver_sql("SELECT * FROM async_body").all()
    stored = json.dumps([repr(row) for row in rows])
    assert key not in stored
    assert ada.access_token not in stored
