"""Being forgotten, all but what accounting needs."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pyotp
import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from dormouse_control.db import Base
from dormouse_control.identity.models import User
from dormouse_control.invitations.models import Invitation
from dormouse_control.mail import outbox
from dormouse_control.mail.models import MailKind
from dormouse_control.naming import new_id
from dormouse_control.oidc.models import OidcFlow, OidcIdentity
from dormouse_control.proofs import tokens
from dormouse_control.proofs.attempts import account_of
from dormouse_control.proofs.models import TokenKind
from dormouse_control.tables import TABLES
from dormouse_control.wiring import Platform
from fixtures.asynchronous import ask_async
from fixtures.control_plane import PASSWORD, Account

ERASE = "/api/v1/me/erase"


@pytest.fixture
def full(
    ada: Account,
    administrator: Account,
    platform: Platform,
    internal: TestClient,
    client: TestClient,
    usage_event: Callable[..., Any],
) -> Account:
    """Ada, with something in every table that can hold something of hers."""
    ada.post("/api/v1/entitlements", {"service": "chat"})
    key = ada.key()["id"]
    group = administrator.post("/api/v1/groups", {"name": "G"}).json()["id"]
    administrator.put(f"/api/v1/groups/{group}/members/{ada.id}", None)
    ada.post("/api/v1/webhook-secret", None)
    ask_async(ada, webhook="https://example.org/hook")
    events = [usage_event(ada.id, end_user="ada@example.org", credential=key)]
    events += [usage_event(ada.id, "req-2", service="nope", end_user="ada@example.org")]
    internal.post("/internal/v1/events", json={"events": events})
    asked = {"credential": key, "user": ada.id, "lease": None, "seq": 1}
    lease = {"holder": "0" * 16, "money": [asked | {"wanted": 5, "returned": 0}]}
    internal.post("/internal/v1/leases", json=lease)
    wrong = {"email": "ada@example.org", "password": "wrong"}
    assert client.post("/api/v1/sessions", json=wrong).status_code == 401
    headers = {"authorization": f"Bearer {ada.access_token}", "idempotency-key": "k"}
    client.post("/api/v1/entitlements", json={"service": "draw"}, headers=headers)
    now = platform.clock()
    with platform.database.sessions.begin() as session:
        tokens.issue(
            session, TokenKind.RESET_PASSWORD, life=timedelta(hours=1), now=now, user_id=ada.id
        )
        outbox.enqueue(
            session, MailKind.CHANGED, address=ada.email, user_id=ada.id, about="x", now=now
        )
        session.add(
            OidcIdentity(
                id=new_id("oid"),
                provider="p",
                issuer="https://p",
                subject="ada@example.org",
                user_id=ada.id,
                created_at=now,
            )
        )
        session.add(
            OidcFlow(
                state="s",
                provider="p",
                browser="b",
                nonce="n",
                verifier_sealed="v",
                challenge="c",
                redirect="r",
                user_id=ada.id,
                created_at=now,
                expires_at=now,
            )
        )
        for used in (None, ada.id):
            session.add(
                Invitation(
                    id=new_id("inv"),
                    email=ada.email,
                    mailed=False,
                    tier="standard",
                    groups=[],
                    created_at=now,
                    expires_at=now + timedelta(days=1),
                    used_at=now if used else None,
                    used_by=used,
                )
            )
    return ada


def _texts(platform: Platform) -> Iterator[tuple[str, str]]:
    """Every row of every table, as (table, text)."""
    with platform.database.reads() as reading:
        for table in TABLES:
            for row in reading.execute(select(*table.__table__.columns)):
                yield table.__tablename__, repr(tuple(row))


def _rows_about(platform: Platform, account: Account) -> dict[str, int]:
    found: dict[str, int] = {}
    for table, text in _texts(platform):
        if account.id in text or account.email in text:
            found[table] = found.get(table, 0) + 1
    return found


def test_the_fixture_reaches_every_table_of_users(full: Account, platform: Platform) -> None:
    owned = {
        table.name
        for table in Base.metadata.tables.values()
        if any(column.key in ("user_id", "owner", "address") for column in table.columns)
    }
    # Codes, and addresses that are stored as MACs, are looked at on their own.
    assert owned - {"recovery_code", "audit_entry"} <= set(_rows_about(platform, full)) | {
        "session"
    }


def test_nothing_is_left_but_an_id_the_calls_and_the_log(
    full: Account, platform: Platform, internal: TestClient
) -> None:
    assert full.post(ERASE, {"password": PASSWORD}).status_code == 204

    left = _rows_about(platform, full)
    accounts = {"usage_entry", "ledger_entry", "lease", "spending"}
    assert set(left) == accounts | {"user", "audit_entry", "revocation", "invitation"}
    assert left["invitation"] == 1  # which one the id came with
    for table, text in _texts(platform):
        assert full.email not in text, table
    with platform.database.reads() as reading:
        user = reading.get_one(User, full.id)
        assert (user.status, user.role, user.tier) == ("erased", "user", "standard")
        assert (user.email, user.password_hash, user.totp_sealed) == (None, None, None)
        assert all(one.revoked_at for one in reading.scalars(select(Invitation)) if not one.used_at)
    account = account_of(full.email, platform.sealing)
    assert all(account not in text for _, text in _texts(platform))
    last = internal.get("/internal/v1/revocations?after=0").json()["items"][-1]
    assert (last["kind"], last["id"], last["cuts"]) == ("user", full.id, True)


def test_calls_stay_for_accounting_without_anything_personal(
    full: Account, administrator: Account, platform: Platform
) -> None:
    assert administrator.delete(f"/api/v1/users/{full.id}").status_code == 204

    usage = Base.metadata.tables["usage_entry"]
    with platform.database.reads() as reading:
        (row,) = reading.execute(select(usage)).mappings()
    assert (row["user_id"], row["prompt_tokens"], row["credential"]) == (full.id, 10, "erased")
    assert row["end_user"] is None


def test_a_report_that_comes_late_is_booked_without_anything_personal(
    full: Account, platform: Platform, internal: TestClient, usage_event: Callable[..., Any]
) -> None:
    full.post(ERASE, {"password": PASSWORD})

    late = usage_event(full.id, "late", end_user="ada@example.org", credential="key_x")
    booked = internal.post("/internal/v1/events", json={"events": [late]}).json()

    assert booked == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert all(full.email not in text and "key_x" not in text for _, text in _texts(platform))


def test_no_credential_works_any_more(full: Account, client: TestClient) -> None:
    key = full.key()["key"]
    assert full.post(ERASE, {"password": PASSWORD}).status_code == 204

    assert full.get("/api/v1/me").status_code == 401
    header = {"authorization": f"Bearer {key}"}
    assert client.get("/api/v1/me", headers=header).status_code == 401
    again = {"refresh_token": full.refresh_token}
    assert client.post("/api/v1/sessions/refresh", json=again).status_code == 401
    proof = {"email": full.email, "password": PASSWORD}
    assert client.post("/api/v1/sessions", json=proof).status_code == 401


def test_erasing_needs_the_password(full: Account, client: TestClient) -> None:
    for body in ({}, {"password": "wrong"}, {"password": None}):
        refused = full.post(ERASE, body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            401,
            "invalid_credentials",
        )
    assert full.get("/api/v1/me").status_code == 200
    key = full.key()["key"]
    header = {"authorization": f"Bearer {key}"}
    by_key = client.post(ERASE, json={"password": PASSWORD}, headers=header)
    assert (by_key.status_code, by_key.json()["error"]["code"]) == (403, "session_required")


def test_erasing_needs_the_second_factor_where_there_is_one(
    ada: Account, clock: Any, platform: Platform
) -> None:
    secret = ada.post("/api/v1/me/second-factor", {"password": PASSWORD}).json()["secret"]
    code = pyotp.TOTP(secret).at(clock.time)
    assert ada.post("/api/v1/me/second-factor/confirm", {"code": code}).status_code == 200

    for body in ({"password": PASSWORD}, {"password": PASSWORD, "code": code}):
        refused = ada.post(ERASE, body)
        assert refused.json()["error"]["code"] == "second_factor_required"
    clock.advance(seconds=30)
    body = {"password": PASSWORD, "code": pyotp.TOTP(secret).at(clock.time)}
    assert ada.post(ERASE, body).status_code == 204
    assert "recovery_code" not in _rows_about(platform, ada)


def test_who_has_no_password_needs_none(ada: Account, platform: Platform) -> None:
    with platform.database.sessions.begin() as session:
        session.execute(update(User).where(User.id == ada.id).values(password_hash=None))

    assert ada.post(ERASE, {}).status_code == 204


def test_of_many_erasures_at_once_one_succeeds(
    installation: Any, at_once: Callable[..., list[Any]]
) -> None:
    ada = installation.sign_up()

    answers = at_once(4, lambda: ada.post(ERASE, {"password": PASSWORD}))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 204
    assert set(statuses[1:]) <= {401, 404, 429}


def test_what_is_erased_stays_so(full: Account, administrator: Account) -> None:
    administrator.delete(f"/api/v1/users/{full.id}")
    user = f"/api/v1/users/{full.id}"

    shown = administrator.get(user).json()
    assert (shown["status"], shown["email"]) == ("erased", None)
    assert administrator.patch(user, {"status": "active"}).status_code == 404
    assert administrator.delete(user).status_code == 404
    assert administrator.put(f"{user}/entitlements/chat", {}).status_code == 404
    assert administrator.get(f"{user}/keys").status_code == 404
    assert full.id not in administrator.get("/api/v1/users").text
    assert full.id in administrator.get("/api/v1/users?status=erased").text
