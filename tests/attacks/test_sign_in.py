"""Attacks on the way in: guesses, bursts, who has an account, tokens of the wrong kind."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import event, select, update
from starlette.testclient import TestClient

from dormouse import tokens as jwt
from dormouse_control.app import public_app
from dormouse_control.identity.models import User, UserSession, UserStatus
from dormouse_control.identity.passwords import Passwords
from dormouse_control.keys import load_signing_key
from dormouse_control.proofs import tokens
from dormouse_control.proofs.attempts import FREE, MOST
from dormouse_control.proofs.models import SignInAttempts, TokenKind
from dormouse_control.wiring import Platform
from fixtures.control_plane import PASSWORD
from fixtures.operations import PARAMETER, operations
from fixtures.statistics import kolmogorov_smirnov

EMAIL = "ada@example.org"
WRONG = "wrong horse battery"
HOME, FLOOD = "192.0.2.1", "198.51.100.66"


def _client(platform: Platform, *, at_once: int = 64) -> TestClient:
    """Of a machine with many cores, which hash quickly: guesses are not held up by hashing."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords = Passwords(hasher=hasher, at_once=at_once, wait_seconds=30)
    return TestClient(public_app(replace(platform, passwords=passwords)))


def _sign_in(
    client: TestClient,
    password: str = WRONG,
    *,
    email: str = EMAIL,
    address: str | None = None,
    **more: Any,
) -> Any:
    headers = {} if address is None else {"x-envoy-external-address": address}
    body = {"email": email, "password": password, **more}
    return client.post("/api/v1/sessions", json=body, headers=headers)


# ---- T30: many guesses ---------------------------------------------------------------------------


def test_t30_a_burst_of_64_guesses_gets_ten_looked_at(
    installation: Any, at_once: Callable[..., list[Any]]
) -> None:
    installation.sign_up(EMAIL)
    client = _client(installation.platform)
    statuses = Counter(answer.status_code for answer in at_once(64, lambda: _sign_in(client)))
    assert statuses == {401: FREE, 429: 64 - FREE}


def test_t30_a_burst_against_an_account_that_is_none_looks_the_same(
    installation: Any, at_once: Callable[..., list[Any]]
) -> None:
    client = _client(installation.platform)
    statuses = Counter(answer.status_code for answer in at_once(64, lambda: _sign_in(client)))
    assert statuses == {401: FREE, 429: 64 - FREE}


def test_t30_a_hundred_failures_are_the_most_however_long_one_waits(
    platform: Platform, clock: Any
) -> None:
    client = _client(platform)
    client.post("/api/v1/registrations", json={"email": EMAIL, "password": PASSWORD})
    looked_at = 0
    for _ in range(3 * MOST):
        looked_at += _sign_in(client).status_code == 401
        clock.advance(seconds=901)
    assert looked_at == MOST
    refused = _sign_in(client, PASSWORD)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "too_many_attempts"
    assert int(refused.headers["retry-after"]) > 0


def test_t30_many_addresses_share_one_count(platform: Platform) -> None:
    client = _client(platform)
    for number in range(FREE):
        assert _sign_in(client, address=f"203.0.113.{number}").status_code == 401
    assert _sign_in(client, address="203.0.113.200").status_code == 429


def test_t30_a_flood_from_elsewhere_does_not_keep_the_owner_out(
    platform: Platform, clock: Any
) -> None:
    client = _client(platform)
    client.post("/api/v1/registrations", json={"email": EMAIL, "password": PASSWORD})
    assert _sign_in(client, PASSWORD, address=HOME).status_code == 201
    for _ in range(MOST + 5):
        _sign_in(client, address=FLOOD)
        clock.advance(seconds=901)
    assert _sign_in(client, PASSWORD, address=FLOOD).status_code == 429
    assert _sign_in(client, PASSWORD, address=HOME).status_code == 201


def test_t30_knowing_the_owners_address_does_not_help_who_only_claims_it(
    platform: Platform,
) -> None:
    """The address is the one that Envoy writes; see the gateway's own tests."""
    client = _client(platform)
    client.post("/api/v1/registrations", json={"email": EMAIL, "password": PASSWORD})
    assert _sign_in(client, PASSWORD, address=HOME).status_code == 201
    statuses: Counter[int] = Counter()
    for number in range(3 * FREE):
        headers = {
            "x-envoy-external-address": FLOOD,
            "x-forwarded-for": HOME if number % 2 else f"203.0.113.{number}",
        }
        body = {"email": EMAIL, "password": WRONG}
        statuses[client.post("/api/v1/sessions", json=body, headers=headers).status_code] += 1
    assert statuses == {401: FREE, 429: 2 * FREE}


def test_t30_guesses_of_the_current_password_are_counted_too(
    platform: Platform,
) -> None:
    client = _client(platform)
    client.post("/api/v1/registrations", json={"email": EMAIL, "password": PASSWORD})
    access = _sign_in(client, PASSWORD).json()["access_token"]
    headers = {"authorization": f"Bearer {access}"}
    guesses = {
        "me/password": ("PUT", {"current": WRONG, "new": PASSWORD + " staple"}),
        "me/second-factor": ("POST", {"password": WRONG}),
        "me/second-factor/remove": ("POST", {"password": WRONG, "code": "123456"}),
    }
    statuses: Counter[int] = Counter()
    for number in range(2 * FREE):
        path, (method, body) = list(guesses.items())[number % len(guesses)]
        answer = client.request(method, f"/api/v1/{path}", json=body, headers=headers)
        statuses[answer.status_code] += 1
    assert statuses == {401: FREE, 429: FREE}


def test_t30_a_machine_too_busy_to_look_counts_nothing(platform: Platform) -> None:
    busy = Passwords(at_once=1, wait_seconds=0.01)
    client = TestClient(public_app(replace(platform, passwords=busy)))
    with busy.turn():
        for _ in range(3):
            answer = _sign_in(client)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    with platform.database.reads() as reading:
        assert reading.scalars(select(SignInAttempts)).all() == []


# ---- T29: who has an account ---------------------------------------------------------------------


def test_t29_wrong_password_unknown_and_gone_accounts_look_the_same(platform: Platform) -> None:
    client = _client(platform)
    for name in ("ada", "disabled", "erased", "unverified", "pending"):
        body = {"email": f"{name}@example.org", "password": PASSWORD}
        client.post("/api/v1/registrations", json=body)
        if name != "ada":
            _set_status(platform, body["email"], UserStatus(name))
    seen = {
        _visible(_sign_in(client, password, email=email))
        for email, password in (
            (EMAIL, WRONG),
            ("nobody@example.org", WRONG),
            ("not an address", WRONG),
            ("disabled@example.org", PASSWORD),
            ("erased@example.org", PASSWORD),
            ("unverified@example.org", PASSWORD),
            ("pending@example.org", WRONG),
        )
    }
    assert len(seen) == 1


def test_t29_what_is_missing_is_told_only_to_who_knows_the_password(platform: Platform) -> None:
    client = _client(platform)
    client.post("/api/v1/registrations", json={"email": EMAIL, "password": PASSWORD})
    _set_status(platform, EMAIL, UserStatus.PENDING)
    answer = _sign_in(client, PASSWORD)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "account_not_active")
    assert "administrator" in answer.json()["error"]["message"]
    with platform.database.reads() as reading:
        assert reading.scalars(select(UserSession)).all() == []


def test_t29_refusals_for_too_many_guesses_look_the_same(platform: Platform) -> None:
    client = _client(platform)
    client.post("/api/v1/registrations", json={"email": EMAIL, "password": PASSWORD})
    answers = {}
    for email in (EMAIL, "nobody@example.org"):
        answers[email] = [_visible(_sign_in(client, email=email)) for _ in range(FREE + 3)]
    assert answers[EMAIL] == answers["nobody@example.org"]


def test_t29_the_same_work_is_done_for_known_and_unknown(platform: Platform) -> None:
    """Statements and hashes, in their order; a time would be at the mercy of the machine."""
    client = _client(platform)
    built: Platform = client.app.state.platform  # type: ignore[attr-defined]
    client.post("/api/v1/registrations", json={"email": EMAIL, "password": PASSWORD})
    done = {}
    for email in (EMAIL, "nobody@example.org"):
        with _watched(built) as steps:
            _sign_in(client, email=email)
        done[email] = list(steps)
    assert done[EMAIL] == done["nobody@example.org"]
    assert sum(step.startswith("hash") for step in done[EMAIL]) == 1


@pytest.mark.slow
def test_t29_times_of_known_and_unknown_overlap(platform: Platform, clock: Any) -> None:
    client = TestClient(public_app(platform))
    known = [f"known{number}@example.org" for number in range(40)]
    for email in known:
        client.post("/api/v1/registrations", json={"email": email, "password": PASSWORD})
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(5):
        for number, email in enumerate(known):
            for here, asked in ((True, email), (False, f"nobody{turn}x{number}@example.org")):
                began = time.perf_counter()
                _sign_in(client, email=asked)
                seconds[here].append(time.perf_counter() - began)
        clock.advance(hours=1)
    assert kolmogorov_smirnov(seconds[True], seconds[False]) > 0.01, {
        here: statistics.median(found) for here, found in seconds.items()
    }


# ---- T35: fixation -------------------------------------------------------------------------------


def test_t35_every_sign_in_opens_a_session_that_nobody_could_name_before(
    client: TestClient, sign_up: Callable[..., Any]
) -> None:
    ada = sign_up()
    seen = {ada.refresh_token.partition(".")[0]}
    for more in ({}, {"session": "x"}, {"id": "ses_x"}, {"refresh_token": ada.refresh_token}):
        answer = client.post(
            "/api/v1/sessions",
            json={"email": EMAIL, "password": PASSWORD, **more},
            headers={"authorization": f"Bearer {ada.access_token}", "cookie": "session=ses_x"},
        )
        assert answer.status_code == (422 if more else 201)
        if not more:
            seen.add(answer.json()["refresh_token"].partition(".")[0])
    assert len(seen) == 2


def test_t35_a_new_password_and_a_code_do_not_keep_what_was_there(sign_up: Any) -> None:
    ada = sign_up()
    before = ada.refresh_token.partition(".")[0]
    answer = ada.put("/api/v1/me/password", {"current": PASSWORD, "new": "violet tram eats moss"})
    assert answer.status_code == 200
    assert answer.json()["refresh_token"].partition(".")[0] != before
    assert ada.get("/api/v1/me").status_code == 401


# ---- T07: tokens of another kind -----------------------------------------------------------------


def _wrong_kinds(platform: Platform, ada: Any) -> dict[str, str]:
    now = platform.clock()
    claims = jwt.decode(
        ada.access_token,
        typ=jwt.SESSION_TYPE,
        audience=jwt.SESSION_AUDIENCE,
        keys=platform.access_keys,
        now=now.timestamp(),
    )
    access = platform.signing.access
    internal = load_signing_key(platform.settings.keys_folder, "internal")
    with platform.database.sessions.begin() as session:
        one_time = {
            kind.value: tokens.write(
                tokens.issue(session, kind, life=timedelta(hours=1), now=now, user_id=ada.id).id,
                kind.value,
                platform.sealing,
            )
            for kind in TokenKind
        }
    key = ada.key()["key"]
    return {
        "refresh token": ada.refresh_token,
        "key as a token": key.removeprefix("dm_"),
        "key in a token": jwt.sign({**claims, "sid": key}, typ=jwt.SESSION_TYPE, key=access),
        "internal token": jwt.sign_internal(
            jwt.InternalClaims(
                user=ada.id,
                credential=str(claims["sid"]),
                service="chat",
                model="small",
                priority=0,
                expires_at=int(now.timestamp()) + 60,
            ),
            key=internal,
            now=now.timestamp(),
        ),
        "internal key, session type": jwt.sign(claims, typ=jwt.SESSION_TYPE, key=internal),
        "session key, internal type": jwt.sign(claims, typ=jwt.INTERNAL_TYPE, key=access),
        "id token": jwt.sign(claims, typ="JWT", key=access),
        "of another audience": jwt.sign(
            {**claims, "aud": "chat"}, typ=jwt.SESSION_TYPE, key=access
        ),
        **one_time,
    }


def test_t07_no_other_kind_of_token_passes_for_an_access_token_anywhere(
    client: TestClient, sign_up: Callable[..., Any], platform: Platform
) -> None:
    ada = sign_up()
    kinds = _wrong_kinds(platform, ada)
    tried = 0
    for method, path in _guarded(client):
        for kind, token in kinds.items():
            headers = {"authorization": f"Bearer {token}"}
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 401, f"{kind} at {method} {path}"
            tried += 1
    assert tried > 100
    assert ada.get("/api/v1/me").status_code == 200


def test_t07_no_other_kind_of_token_refreshes_a_session(
    client: TestClient, sign_up: Callable[..., Any], platform: Platform
) -> None:
    ada = sign_up()
    others = _wrong_kinds(platform, ada) | {"access": ada.access_token, "key": ada.key()["key"]}
    del others["refresh token"]
    for kind, token in others.items():
        answer = client.post("/api/v1/sessions/refresh", json={"refresh_token": token})
        assert answer.status_code in (401, 422), kind
    answer = client.post("/api/v1/sessions/refresh", json={"refresh_token": ada.refresh_token})
    assert answer.status_code == 200


def _guarded(client: TestClient) -> list[tuple[str, str]]:
    """Every operation that needs somebody, from the OpenAPI document."""
    known = operations(client.get("/api/v1/openapi.json").json())
    return [(each.method, PARAMETER.sub("x", each.path)) for each in known if each.role is not None]


# ---- helpers -------------------------------------------------------------------------------------


def _visible(answer: Any) -> tuple[Any, ...]:
    private = {"x-request-id", "content-length", "date"}
    headers = {name: value for name, value in answer.headers.items() if name not in private}
    return answer.status_code, answer.text, tuple(sorted(headers.items()))


def _set_status(platform: Platform, email: str, status: UserStatus) -> None:
    with platform.database.sessions.begin() as session:
        session.execute(update(User).where(User.email == email).values(status=status))


@contextmanager
def _watched(platform: Platform) -> Iterator[list[str]]:
    """What is asked of the database and of the hasher, without the values."""
    steps: list[str] = []
    fits = platform.passwords.fits

    def statement(_c: Any, _cursor: Any, text: str, _p: Any, _context: Any, _many: Any) -> None:
        steps.append(text)

    def hashed(password: str, known: str | None) -> bool:
        steps.append("hash")
        return fits(password, known)

    platform.passwords.fits = hashed  # type: ignore[method-assign]
    event.listen(platform.database.engine, "before_cursor_execute", statement)
    try:
        yield steps
    finally:
        event.remove(platform.database.engine, "before_cursor_execute", statement)
        platform.passwords.fits = fits  # type: ignore[method-assign]
