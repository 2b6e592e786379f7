"""What was made narrower since the backup is as narrow again, and what else there was stays."""

from datetime import timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select

from dormouse_control.audit.record import Actor
from dormouse_control.entitlements.models import Entitlement
from dormouse_control.identity import resets
from dormouse_control.oidc import identities
from dormouse_control.oidc.config import OidcProvider
from dormouse_control.proofs import tokens
from dormouse_control.proofs.models import TokenKind
from fixtures.control_plane import PASSWORD
from fixtures.restored import Machine

LIMITS = {
    "services": ["chat"],
    "models": ["small"],
    "endpoints": ["completions"],
    "ip_ranges": ["192.0.2.0/24"],
    "requests_per_minute": 5,
    "tokens_per_minute": 500,
    "concurrent_calls": 3,
    "budget": {"amount": 0.25, "period": "day"},
    "expires_at": "2031-01-01T12:00:00Z",
}


def _keys(machine: Machine, account: Any) -> Any:
    login = {"email": account.email, "password": PASSWORD}
    signed_in = machine.client.post("/api/v1/sessions", json=login).json()
    bearer = {"authorization": f"Bearer {signed_in['access_token']}"}
    return machine.client.get("/api/v1/keys", headers=bearer).json()["items"]


def _rights(machine: Machine, account: Any) -> dict[str, Any]:
    with machine.platform.database.reads() as reading:
        rows = reading.scalars(select(Entitlement).where(Entitlement.user_id == account.id)).all()
    return {row.service: row.expires_at for row in rows}


def test_a_narrowed_key_is_as_narrow_again_and_lives(machine: Machine, ada: Any) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    made = ada.key()
    backup = machine.backup()
    answer = ada.patch(f"/api/v1/keys/{made['id']}", LIMITS)
    assert answer.status_code == 200, answer.text
    machine.restart(backup)

    (found,) = _keys(machine, ada)
    assert {name: found[name] for name in LIMITS} == LIMITS
    assert found["id"] in machine.restores()[0]
    assert found["id"] == made["id"]


def test_limits_taken_away_again_do_not_come_back(machine: Machine, ada: Any) -> None:
    made = ada.key()
    backup = machine.backup()
    for per_minute in (5, None):
        ada.patch(f"/api/v1/keys/{made['id']}", {"requests_per_minute": per_minute})
    machine.restart(backup)

    (found,) = _keys(machine, ada)
    assert found["requests_per_minute"] is None
    assert made["id"] not in machine.restores()[0]


def test_a_key_that_was_narrowed_and_then_revoked_is_revoked(machine: Machine, ada: Any) -> None:
    made = ada.key()
    backup = machine.backup()
    ada.patch(f"/api/v1/keys/{made['id']}", {"requests_per_minute": 5})
    ada.delete(f"/api/v1/keys/{made['id']}")
    machine.restart(backup)

    assert _keys(machine, ada) == []


def test_an_earlier_end_of_a_right_is_kept(machine: Machine, ada: Any, administrator: Any) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    backup = machine.backup()
    end = machine.platform.clock() + timedelta(days=3, microseconds=7)
    path = f"/api/v1/users/{ada.id}/entitlements/chat"
    assert administrator.put(path, {"expires_at": end.isoformat()}).status_code == 200
    machine.restart(backup)

    assert _rights(machine, ada) == {"chat": end}


def test_who_leaves_a_group_for_one_right_keeps_the_others(
    machine: Machine, ada: Any, administrator: Any
) -> None:
    group = administrator.post("/api/v1/groups", {"name": "crew"}).json()["id"]
    for service in ("chat", "draw"):
        administrator.put(f"/api/v1/groups/{group}/entitlements/{service}", {})
    administrator.put(f"/api/v1/groups/{group}/members/{ada.id}", None)
    backup = machine.backup()
    answer = administrator.delete(f"/api/v1/groups/{group}/entitlements/chat")
    assert answer.status_code == 204
    machine.restart(backup)

    assert _rights(machine, ada) == {"draw": None}


def test_a_lower_tier_is_lower_again(machine: Machine, ada: Any, administrator: Any) -> None:
    administrator.put("/api/v1/tiers/small", {"title": "Small", "most_keys": 1})
    backup = machine.backup()
    answer = administrator.patch(f"/api/v1/users/{ada.id}", {"tier": "small"})
    assert answer.status_code == 200, answer.text
    machine.restart(backup)

    assert machine.user(ada.id).tier == "small"


def test_a_password_reset_counts_although_no_session_was_open(machine: Machine, ada: Any) -> None:
    ada.delete("/api/v1/sessions/current")
    backup = machine.backup()
    platform = machine.platform
    with platform.database.sessions.begin() as session:
        token = tokens.issue(
            session,
            TokenKind.RESET_PASSWORD,
            user_id=ada.id,
            bound=ada.email,
            life=timedelta(hours=1),
            now=platform.clock(),
        )
        kind = TokenKind.RESET_PASSWORD
        text = tokens.write(token.id, kind.value, platform.sealing)
    with platform.database.sessions.begin() as session:
        resets.confirm(
            session, text, password="another battery staple", platform=platform, actor=Actor()
        )
    machine.restart(backup)

    login = {"email": ada.email, "password": PASSWORD}
    assert machine.client.post("/api/v1/sessions", json=login).status_code == 401


def test_an_identity_that_was_unlinked_stays_unlinked(machine: Machine, ada: Any) -> None:
    platform = machine.platform
    provider = OidcProvider(
        name="corp",
        title="Corp",
        issuer="https://id.example.org",
        client_id="x",
        client_secret=SecretStr("y"),
    )
    now, actor = platform.clock(), Actor(id=ada.id)
    with platform.database.sessions.begin() as session:
        for subject in ("left", "gone"):
            identities.link_by_hand(
                session, provider=provider, subject=subject, user_id=ada.id, actor=actor, now=now
            )
    backup = machine.backup()
    with platform.database.sessions.begin() as session:
        left, gone = sorted(
            identities.list_identities(session, user_id=ada.id), key=lambda each: each.subject
        )[::-1]
        identities.unlink(
            session, user_id=ada.id, identity_id=gone.id, issuers=[], actor=actor, now=now
        )
    machine.restart(backup)

    with machine.platform.database.reads() as reading:
        found = identities.list_identities(reading, user_id=ada.id)
    assert [each.id for each in found] == [left.id]


def test_what_cannot_be_noted_is_not_done(machine: Machine, ada: Any) -> None:
    made = ada.key()
    journal = machine.platform.settings.home / "revoked.journal"
    journal.unlink(missing_ok=True)
    journal.mkdir()

    answer = ada.delete(f"/api/v1/keys/{made['id']}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (
        503,
        "control_plane_unavailable",
    )
    journal.rmdir()
    assert [key["id"] for key in _keys(machine, ada)] == [made["id"]]
    assert ada.delete(f"/api/v1/keys/{made['id']}").status_code == 204
