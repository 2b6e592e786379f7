"""Gateway and control plane agree on every credential, whatever it looks like."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from dormouse.tokens import sign
from dormouse_control.wiring import Platform
from fixtures.both_sides import BothSides, both_sides  # noqa: F401  a fixture
from fixtures.control_plane import Account, FakeClock


@pytest.fixture
def sides(both_sides: BothSides) -> Iterator[BothSides]:  # noqa: F811  the fixture
    return both_sides


def test_both_know_a_session_and_a_key_of_the_same_user(
    sides: BothSides, sign_up: Callable[..., Account]
) -> None:
    ada = sign_up()
    assert ada.post("/api/v1/entitlements", {"service": "chat"}).status_code == 201

    for credential in (ada.access_token, ada.key()["key"]):
        for scheme in ("Bearer", "bearer", "BEARER"):
            ours, gates = sides(f"{scheme} {credential}")
            assert (ours.status, ours.user) == (gates.status, gates.user) == (200, ada.id)


def test_who_is_not_entitled_is_known_and_refused(
    sides: BothSides, sign_up: Callable[..., Account]
) -> None:
    ours, gates = sides(f"Bearer {sign_up().access_token}")

    assert ours.status == 200
    assert (gates.status, gates.code, gates.known) == (403, "not_entitled", True)


def test_neither_knows_what_is_no_credential(
    sides: BothSides,
    sign_up: Callable[..., Account],
    platform: Platform,
    clock: FakeClock,
) -> None:
    ada = sign_up()
    assert ada.post("/api/v1/entitlements", {"service": "chat"}).status_code == 201
    key, token = ada.key()["key"], ada.access_token
    gone = ada.key()
    assert ada.delete(f"/api/v1/keys/{gone['id']}").status_code == 204
    ended = sign_up("eve@example.org")
    assert ended.delete("/api/v1/sessions/current").status_code == 204
    past = int((clock.time - timedelta(hours=1)).timestamp())
    claims = {"iss": "dormouse", "aud": "dormouse", "sub": ada.id, "sid": "ses_x", "iat": past}
    expired = sign(claims | {"exp": past + 600}, typ="at+jwt", key=platform.signing.access)
    headers = [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {token}",
        token,
        key,
        f"Bearer  {token}",
        f"Bearer {token} ",
        f"Bearer\t{token}",
        f"Bearer {key}x",
        f"Bearer {key[:-1]}",
        f"Bearer {key.swapcase()}",
        f"Bearer {key},{key}",
        f"Bearer {token}, Bearer {token}",
        f"Bearer {ada.refresh_token}",
        f"Bearer {expired}",
        f"Bearer {gone['key']}",
        f"Bearer {ended.access_token}",
        b"Bearer \xff\xfe",
        f"Bearer {key}".encode() + b"\xa0",
        [("authorization", f"Bearer {key}"), ("authorization", f"Bearer {key}")],
        [("authorization", f"Bearer {key}"), ("authorization", "Basic x")],
        [("x-api-key", key)],
        [("cookie", f"authorization=Bearer {key}")],
    ]

    for header in headers:
        ours, gates = sides(header)
        assert (ours.known, gates.known) == (False, False), header
