"""Attacks on sessions: used after their end, replayed, raced, bent, and broken in the middle."""

import string
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, update
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from dormouse_control.app import public_app
from dormouse_control.audit.models import AuditEntry
from dormouse_control.errors import PlatformError
from dormouse_control.identity.models import User, UserSession, UserStatus
from dormouse_control.proofs import attempts, tokens
from dormouse_control.proofs.models import TokenKind
from dormouse_control.wiring import Platform
from fixtures.control_plane import PASSWORD
from fixtures.control_plane_process import Process

NEW = "violet tram eats moss"


def _refresh(client: Any, token: str) -> Any:
    return client.post("/api/v1/sessions/refresh", json={"refresh_token": token})


def _me(client: Any, bearer: str) -> int:
    headers = {"authorization": f"Bearer {bearer}"}
    status: int = client.get("/api/v1/me", headers=headers).status_code
    return status


def _pair(client: Any, password: str = PASSWORD) -> dict[str, str]:
    body = {"email": "ada@example.org", "password": password}
    answer = client.post("/api/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    pair: dict[str, str] = answer.json()
    return pair


# ---- T11: used after the end ---------------------------------------------------------------------


def _sign_out(ada: Any, _platform: Platform) -> None:
    assert ada.delete("/api/v1/sessions/current").status_code == 204


def _end_by_id(ada: Any, _platform: Platform) -> None:
    mine = ada.refresh_token.partition(".")[0]
    assert ada.delete(f"/api/v1/sessions/{mine}").status_code == 204


def _end_from_elsewhere(ada: Any, _platform: Platform) -> None:
    bearer = {"authorization": f"Bearer {_pair(ada.client)['access_token']}"}
    assert ada.client.delete("/api/v1/sessions/others", headers=bearer).status_code == 204


def _change_password(ada: Any, _platform: Platform) -> None:
    answer = ada.put("/api/v1/me/password", {"current": PASSWORD, "new": NEW})
    assert answer.status_code == 200


def _disable(ada: Any, platform: Platform) -> None:
    with platform.database.sessions.begin() as session:
        changed = update(User).where(User.id == ada.id)
        session.execute(changed.values(status=UserStatus.DISABLED))


def _erase(ada: Any, platform: Platform) -> None:
    with platform.database.sessions.begin() as session:
        changed = update(User).where(User.id == ada.id)
        session.execute(changed.values(status=UserStatus.ERASED, email=None, password_hash=None))


@pytest.mark.parametrize(
    "end", [_sign_out, _end_by_id, _end_from_elsewhere, _change_password, _disable, _erase]
)
def test_t11_nothing_of_an_ended_session_is_worth_anything(
    installation: Any, end: Callable[[Any, Platform], None]
) -> None:
    client, ada = installation.client, installation.sign_up()
    child = _refresh(client, ada.refresh_token).json()
    end(ada, installation.platform)
    for access in (ada.access_token, child["access_token"]):
        assert _me(client, access) == 401
        headers = {"authorization": f"Bearer {access}"}
        made = client.post("/api/v1/keys", json={"name": "later"}, headers=headers)
        assert made.status_code == 401
    for token in (child["refresh_token"], ada.refresh_token):
        assert _refresh(client, token).status_code == 401


@pytest.mark.parametrize("end", [_sign_out, _end_by_id, _end_from_elsewhere, _change_password])
def test_t11_authorizers_are_told_to_cut_what_runs(
    internal: TestClient,
    sign_up: Callable[..., Any],
    platform: Platform,
    end: Callable[[Any, Platform], None],
) -> None:
    ada = sign_up()
    mine = ada.refresh_token.partition(".")[0]
    end(ada, platform)
    news = internal.get("/internal/v1/revocations?after=0").json()["items"]
    assert [each["cuts"] for each in news if each["id"] == mine] == [True]


def test_t11_everything_that_ends_a_session_is_in_the_audit_log(
    sign_up: Callable[..., Any], platform: Platform
) -> None:
    ada = sign_up()
    _change_password(ada, platform)
    with platform.database.reads() as reading:
        actions = reading.scalars(select(AuditEntry.action).order_by(AuditEntry.seq)).all()
    assert set(actions[-3:]) == {"session.end_all", "password.change", "session.open"}


def test_t11_a_session_that_nobody_used_for_long_has_ended(
    client: TestClient, sign_up: Callable[..., Any], clock: Any
) -> None:
    ada = sign_up()
    clock.advance(days=13, hours=23)
    child = _refresh(client, ada.refresh_token).json()["refresh_token"]
    clock.advance(days=14, seconds=1)
    assert _refresh(client, child).status_code == 401


# ---- T12 and T13: used again, and at the same time -----------------------------------------------


def test_t12_a_token_used_again_ends_its_whole_family_and_is_noted(
    installation: Any, clock: Any
) -> None:
    client, ada = installation.client, installation.sign_up()
    other = _pair(client)
    child = _refresh(client, ada.refresh_token).json()
    clock.advance(seconds=11)
    assert _refresh(client, ada.refresh_token).status_code == 401
    assert _me(client, child["access_token"]) == 401
    assert _refresh(client, child["refresh_token"]).status_code == 401
    assert _refresh(client, other["refresh_token"]).status_code == 200, "another family"
    with installation.platform.database.reads() as reading:
        entry = reading.scalars(select(AuditEntry).where(AuditEntry.action == "session.end")).one()
    assert (entry.subject, "replay" in entry.details) == (
        ada.refresh_token.partition(".")[0],
        True,
    )
    (news,) = installation.internal.get("/internal/v1/revocations?after=0").json()["items"]
    assert news["cuts"] is True


@pytest.mark.parametrize("rounds", [10, pytest.param(500, marks=pytest.mark.slow)])
def test_t13_parallel_uses_of_one_token_make_one_new_pair(
    installation: Any, at_once: Callable[..., list[Any]], rounds: int
) -> None:
    token = installation.sign_up().refresh_token
    for turn in range(1, rounds + 1):
        answers = at_once(16, lambda token=token: _refresh(installation.client, token))
        assert {answer.status_code for answer in answers} == {200}
        (token,) = {answer.json()["refresh_token"] for answer in answers}
        with installation.platform.database.reads() as reading:
            family = reading.scalars(select(UserSession)).one()
            assert (family.seq, family.revoked_at) == (turn, None)


# ---- T14 and T15: killed in between, and answers that never arrive -------------------------------


@pytest.mark.parametrize("rounds", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_t14_a_used_token_stays_used_when_the_process_is_killed(
    start_control_plane: Callable[[], Process], rounds: int
) -> None:
    process = start_control_plane().wait()
    body = {"email": "ada@example.org", "password": PASSWORD}
    assert process.public.post("/api/v1/registrations", json=body).status_code == 201
    for _ in range(rounds):
        first = _pair(process.public)["refresh_token"]
        second = _refresh(process.public, first).json()["refresh_token"]
        third = _refresh(process.public, second).json()["refresh_token"]
        process.end()
        process = start_control_plane().wait()
        assert _refresh(process.public, first).status_code == 401, "used, and its child too"
        assert _refresh(process.public, third).status_code == 401, "its family has ended"


def test_t14_an_ended_session_stays_ended_when_the_process_is_killed(
    start_control_plane: Callable[[], Process],
) -> None:
    process = start_control_plane().wait()
    body = {"email": "ada@example.org", "password": PASSWORD}
    process.public.post("/api/v1/registrations", json=body)
    pair = _pair(process.public)
    bearer = {"authorization": f"Bearer {pair['access_token']}"}
    assert process.public.delete("/api/v1/sessions/current", headers=bearer).status_code == 204
    process.end()
    process = start_control_plane().wait()
    assert _refresh(process.public, pair["refresh_token"]).status_code == 401
    assert _me(process.public, pair["access_token"]) == 401


@pytest.mark.parametrize("rounds", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_t15_nobody_is_locked_out_by_a_lost_answer(
    client: TestClient, sign_up: Callable[..., Any], clock: Any, rounds: int
) -> None:
    token = sign_up().refresh_token
    for turn in range(rounds):
        lost = _refresh(client, token).json()["refresh_token"]
        clock.advance(seconds=turn % 11)
        again = _refresh(client, token)
        assert again.status_code == 200
        assert again.json()["refresh_token"] == lost
        token = lost


def test_t15_a_failed_write_burns_no_token(platform: Platform, sign_up: Any) -> None:
    ada = sign_up()
    client = TestClient(public_app(platform), raise_server_exceptions=False)
    for number in range(1, 12):
        with _failing(platform, number) as failed:
            answer = _refresh(client, ada.refresh_token)
        if not failed:
            break
        assert answer.status_code >= 500
    assert number > 2
    assert answer.status_code == 200


# ---- T16: the token of another -------------------------------------------------------------------


def test_t16_a_token_is_good_for_its_own_session_and_place_only(
    installation: Any,
) -> None:
    client = installation.client
    ada, bob = installation.sign_up(), installation.sign_up("bob@example.org")
    (ours, seq, mac), (theirs, _, other_mac) = (
        token.split(".") for token in (ada.refresh_token, bob.refresh_token)
    )
    for bent in (
        f"{theirs}.{seq}.{mac}",
        f"{ours}.{seq}.{other_mac}",
        f"{ours}.1.{mac}",
        f"{ours}.-1.{mac}",
        f"{ours}.00.{mac}",
    ):
        assert _refresh(client, bent).status_code == 401
    for account in (ada, bob):
        assert account.get("/api/v1/me").status_code == 200, "nobody can end another's session"
    renewed = _refresh(client, bob.refresh_token).json()
    headers = {"authorization": f"Bearer {renewed['access_token']}"}
    assert client.get("/api/v1/me", headers=headers).json()["id"] == bob.id


def test_t16_a_session_of_another_answers_as_one_that_is_none(installation: Any) -> None:
    ada, bob = installation.sign_up(), installation.sign_up("bob@example.org")
    theirs = bob.refresh_token.partition(".")[0]
    foreign = ada.delete(f"/api/v1/sessions/{theirs}")
    missing = ada.delete(f"/api/v1/sessions/ses_{'0' * 26}")
    assert foreign.status_code == missing.status_code == 404
    assert foreign.text == missing.text
    assert bob.get("/api/v1/me").status_code == 200
    assert theirs not in ada.get("/api/v1/sessions").text


def test_t16_a_disabled_owner_gets_no_new_pair(installation: Any) -> None:
    ada = installation.sign_up()
    _disable(ada, installation.platform)
    assert _refresh(installation.client, ada.refresh_token).status_code == 401


# ---- T17: a database that fails ------------------------------------------------------------------


@contextmanager
def _failing(platform: Platform, at: int) -> Iterator[list[int]]:
    """The `at`th thing that this writes, or its commit, fails; what is yielded says whether."""
    engine, failed, count = platform.database.engine, [], 0
    really = engine.dialect.do_commit

    def step() -> None:
        nonlocal count
        count += 1
        if count == at:
            failed.append(at)
            raise engine.dialect.loaded_dbapi.OperationalError("the disk is gone")

    def statement(_c: Any, _cursor: Any, text: str, *_: Any) -> None:
        if text.split(maxsplit=1)[0] in ("INSERT", "UPDATE", "DELETE"):
            step()

    def commit(connection: Any) -> None:
        try:
            step()
        except Exception:
            connection.rollback()  # as databases do when they cannot commit
            raise
        really(connection)

    event.listen(engine, "before_cursor_execute", statement)
    engine.dialect.do_commit = commit  # type: ignore[method-assign]
    try:
        with capture_logs():  # tracebacks of every step take minutes to be drawn
            yield failed
    finally:
        event.remove(engine, "before_cursor_execute", statement)
        engine.dialect.do_commit = really  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "sessions/current", None),
        ("DELETE", "sessions/others", None),
        ("DELETE", "sessions/{id}", None),
        ("PUT", "me/password", {"current": PASSWORD, "new": NEW}),
    ],
)
def test_t17_a_failed_revocation_is_never_called_a_success(
    platform: Platform, sign_up: Any, method: str, path: str, body: Any
) -> None:
    ada = sign_up()
    other = _pair(ada.client)
    client = TestClient(public_app(platform), raise_server_exceptions=False)
    headers = {"authorization": f"Bearer {ada.access_token}"}
    filled = path.replace("{id}", other["refresh_token"].partition(".")[0])
    failures = 0
    for number in range(1, 40):
        with platform.database.sessions.begin() as session:
            attempts.clear(session, email=ada.email, sealing=platform.sealing)
        with _failing(platform, number) as failed:
            answer = client.request(method, f"/api/v1/{filled}", json=body, headers=headers)
        if not failed:
            break
        failures += 1
        assert answer.status_code >= 500
        assert _me(client, ada.access_token) == _me(client, other["access_token"]) == 200
    assert failures >= 3
    assert answer.status_code in (200, 204)
    assert 401 in (_me(client, ada.access_token), _me(client, other["access_token"]))


def test_t17_a_replay_that_cannot_be_noted_is_no_success_either(
    platform: Platform, sign_up: Any, clock: Any
) -> None:
    ada = sign_up()
    child = _refresh(ada.client, ada.refresh_token).json()
    clock.advance(seconds=11)
    client = TestClient(public_app(platform), raise_server_exceptions=False)
    failures = 0
    for number in range(1, 20):
        with _failing(platform, number) as failed:
            answer = _refresh(client, ada.refresh_token)
        if not failed:
            break
        failures += 1
        assert answer.status_code >= 500
    assert failures >= 3
    assert answer.status_code == 401
    assert _me(client, child["access_token"]) == 401


# ---- T18: almost the right secret ----------------------------------------------------------------


def _edits(secret: str) -> Iterator[str]:
    """Every proper prefix, and every edit of one character; some longer ones and look-alikes."""
    yield from (secret[:length] for length in range(len(secret)))
    alphabet = string.ascii_letters + string.digits + "._-"
    for place, right in enumerate(secret):
        for wrong in {right.swapcase(), alphabet[(alphabet.find(right) + 1) % len(alphabet)]}:
            if wrong != right:
                yield secret[:place] + wrong + secret[place + 1 :]
        yield secret[:place] + secret[place + 1 :]
        yield secret[:place] + right + secret[place:]
    for added in ("=", "A", "\n", " ", "\t", "\x00", "%00", "\u200b", "."):
        yield secret + added
        yield added + secret
    yield secret.replace("e", "\u0435")
    yield secret.swapcase()
    yield secret * 2


def test_t18_nothing_but_the_refresh_token_itself_refreshes(
    client: TestClient, sign_up: Callable[..., Any]
) -> None:
    ada = sign_up()
    tried = 0
    for edit in _edits(ada.refresh_token):
        if edit != ada.refresh_token:
            assert _refresh(client, edit).status_code in (401, 422), repr(edit)
            tried += 1
    assert tried > 250
    assert _refresh(client, ada.refresh_token).status_code == 200


def test_t18_nothing_but_the_api_key_itself_calls(
    client: TestClient, sign_up: Callable[..., Any]
) -> None:
    key = sign_up().key()["key"]
    tried = 0
    for edit in _edits(key):
        if edit != key:
            headers = {"authorization": b"Bearer " + edit.encode()}
            if any(character in edit for character in "\n\x00"):
                continue  # cannot be sent in a header
            assert client.get("/api/v1/me", headers=headers).status_code == 401, repr(edit)
            tried += 1
    assert tried > 120
    assert _me(client, key) == 200


def test_t18_nothing_but_the_one_time_token_itself_is_redeemed(
    platform: Platform, sign_up: Callable[..., Any]
) -> None:
    ada, now = sign_up(), platform.clock()
    kind, life = TokenKind.RESET_PASSWORD, timedelta(hours=1)
    with platform.database.sessions.begin() as session:
        issued = tokens.issue(session, kind, life=life, now=now, user_id=ada.id)
        secret = tokens.write(issued.id, kind.value, platform.sealing)
    outcomes: Counter[bool] = Counter()
    for edit in (*_edits(secret), secret):
        with platform.database.sessions.begin() as session:
            try:
                tokens.redeem(session, edit, kind, sealing=platform.sealing, now=now)
                outcomes[True] += 1
                assert edit == secret
            except PlatformError:
                outcomes[False] += 1
    assert outcomes[True] == 1
    assert outcomes[False] > 250
