"""An older copy of the database is put back, and nothing that was taken away comes back with it."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select, text, update
from starlette.testclient import TestClient

from dormouse_control import housekeeping
from dormouse_control.app import internal_app
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind, Role, User, UserStatus
from dormouse_control.invitations.models import Invitation
from dormouse_control.migrations.run import upgrade
from dormouse_control.proofs import recovery
from fixtures.control_plane import Installation
from fixtures.restored import Machine


def refresh(client: TestClient, token: str) -> int:
    answer = client.post("/api/v1/sessions/refresh", json={"refresh_token": token})
    return answer.status_code


def test_a_restart_is_no_restore(machine: Machine, ada: Any) -> None:
    ada.key()
    for _ in range(2):
        machine.restart()

    assert machine.restores() == []
    assert refresh(machine.client, ada.refresh_token) == 200


def test_t14_a_used_refresh_token_stays_used(machine: Machine, ada: Any) -> None:
    backup = machine.backup()
    assert refresh(machine.client, ada.refresh_token) == 200

    machine.restart(backup)

    assert refresh(machine.client, ada.refresh_token) == 401
    assert len(machine.restores()) == 1
    machine.restart()
    assert len(machine.restores()) == 1


def test_t14_a_session_that_was_ended_stays_ended(machine: Machine, ada: Any) -> None:
    backup = machine.backup()
    ada.delete("/api/v1/sessions/current")
    machine.restart(backup)

    ada.client = machine.client
    assert ada.get("/api/v1/me").status_code == 401
    assert refresh(machine.client, ada.refresh_token) == 401


def test_t14_a_revoked_key_stays_revoked_and_others_live(machine: Machine, ada: Any) -> None:
    revoked, kept = ada.key("lost"), ada.key("kept")
    backup = machine.backup()
    ada.delete(f"/api/v1/keys/{revoked['id']}")

    for _ in range(2):  # the same backup may be put back again
        machine.restart(backup)
        for key, status in ((revoked, 401), (kept, 200)):
            bearer = {"authorization": f"Bearer {key['key']}"}
            assert machine.client.get("/api/v1/me", headers=bearer).status_code == status
    assert len(machine.restores()) == 1


def test_a_loss_from_before_the_backup_is_not_applied_again(machine: Machine, ada: Any) -> None:
    """Otherwise who got a right back would lose it with every restore."""
    entitle = {"service": "chat"}
    ada.post("/api/v1/entitlements", entitle)
    ada.delete("/api/v1/entitlements/chat")
    ada.post("/api/v1/entitlements", entitle)
    backup = machine.backup()
    ada.key()
    machine.restart(backup)

    assert machine.restores() == ['{"keys": [], "sessions": 1, "users": []}']


def test_an_entitlement_that_was_given_up_stays_given_up(machine: Machine, ada: Any) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    key = ada.key()["key"]
    backup = machine.backup()
    ada.delete("/api/v1/entitlements/chat")
    machine.restart(backup)

    bearer = {"authorization": f"Bearer {key}"}
    assert machine.client.get("/api/v1/entitlements", headers=bearer).json()["items"] == []


def _change(machine: Machine, user: str, **values: Any) -> None:
    with machine.platform.database.sessions.begin() as session:
        session.execute(update(User).where(User.id == user).values(**values))


def test_a_disabled_account_stays_disabled_and_a_lower_role_low(
    machine: Machine, ada: Any, administrator: Any, sign_up: Callable[..., Any]
) -> None:
    bob = sign_up("bob@example.org")
    _change(machine, bob.id, role=Role.OPERATOR)
    backup = machine.backup()
    for user, body in ((ada, {"status": "disabled"}), (bob, {"role": "user"})):
        answer = administrator.patch(f"/api/v1/users/{user.id}", body)
        assert answer.status_code == 200, answer.text
    machine.restart(backup)

    assert machine.user(ada.id).status is UserStatus.DISABLED
    assert machine.user(bob.id).role is Role.USER
    assert machine.user(administrator.id).role is Role.ADMINISTRATOR


def test_an_erased_account_is_erased_again(machine: Machine, ada: Any) -> None:
    backup = machine.backup()
    answer = ada.post("/api/v1/me/erase", {"password": "correct horse battery"})
    assert answer.status_code == 204, answer.text
    machine.restart(backup)

    found = machine.user(ada.id)
    assert (found.status, found.email, found.password_hash) == (UserStatus.ERASED, None, None)


def test_an_old_password_lets_nobody_in(machine: Machine, ada: Any) -> None:
    backup = machine.backup()
    change = {"current": "correct horse battery", "new": "another horse battery"}
    answer = ada.put("/api/v1/me/password", change)
    assert answer.status_code == 200, answer.text
    machine.restart(backup)

    for password in change.values():
        login = {"email": ada.email, "password": password}
        assert machine.client.post("/api/v1/sessions", json=login).status_code == 401


def test_invitations_of_before_are_worth_nothing(machine: Machine, administrator: Any) -> None:
    made = administrator.post("/api/v1/invitations", {})
    assert made.status_code == 201, made.text
    backup = machine.backup()
    administrator.key()
    machine.restart(backup)

    with machine.platform.database.reads() as reading:
        assert reading.scalars(select(Invitation)).one().revoked_at is not None


def test_followers_of_revocations_must_forget_everything(machine: Machine, ada: Any) -> None:
    backup = machine.backup()
    for _ in range(3):
        ada.delete(f"/api/v1/keys/{ada.key()['id']}")
    machine.restart(backup)

    internal = TestClient(internal_app(machine.platform))
    for after in range(1, 4):
        news = internal.get(f"/internal/v1/revocations?after={after}").json()
        assert news["reset"], news
    assert news["last"] > 3


def test_where_nothing_else_can_tell_a_file_does(machine: Machine, ada: Any) -> None:
    """On another machine there is no journal, so whoever restores says so."""
    home = machine.platform.settings.home
    (home / "epoch").unlink()
    (home / housekeeping.RESTORED).touch()

    machine.restart()

    assert refresh(machine.client, ada.refresh_token) == 401
    assert not (home / housekeeping.RESTORED).exists()


def test_a_new_database_in_an_old_home_is_no_trouble(machine: Machine, ada: Any) -> None:
    machine.platform.database.engine.dispose()
    machine.backups.empty()
    upgrade(machine.platform.database.engine)
    machine.restart()

    assert len(machine.restores()) == 1
    assert refresh(machine.client, ada.refresh_token) == 401


def test_a_change_that_is_rolled_back_is_no_loss(machine: Machine, ada: Any) -> None:
    backup = machine.backup()
    with machine.platform.database.sessions() as session:
        revocations.record(
            session, RevocationKind.USER, ada.id, now=machine.platform.clock(), cuts=True
        )
        session.rollback()
        session.execute(update(User).where(User.id == ada.id).values(role=Role.USER))
        session.commit()
    assert machine.platform.journal.losses(after=0) == []
    assert machine.platform.journal.marks().revocation == 0
    machine.restart(backup)

    assert machine.restores() == ['{"keys": [], "sessions": 1, "users": []}']


def test_a_right_that_came_back_since_survives(machine: Machine, ada: Any) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    key = ada.key()["key"]
    backup = machine.backup()
    ada.delete("/api/v1/entitlements/chat")
    ada.post("/api/v1/entitlements", {"service": "chat"})
    machine.restart(backup)

    bearer = {"authorization": f"Bearer {key}"}
    items = machine.client.get("/api/v1/entitlements", headers=bearer).json()["items"]
    assert [item["service"] for item in items] == ["chat"]


def test_t14_a_recovery_code_stays_used(machine: Machine, ada: Any) -> None:
    now, sealing = machine.platform.clock(), machine.platform.sealing
    sessions = machine.platform.database.sessions
    with sessions.begin() as session:
        codes = recovery.replace_all(session, user_id=ada.id, sealing=sealing)
    backup = machine.backup()
    with sessions.begin() as session:
        assert recovery.use(session, codes[0], user_id=ada.id, sealing=sealing, now=now)
    machine.restart(backup)

    with machine.platform.database.sessions.begin() as session:
        again = [
            recovery.use(session, code, user_id=ada.id, sealing=sealing, now=now)
            for code in codes[:2]
        ]
    assert again == [False, True]


def test_numbers_go_on_in_both_databases(installation: Installation) -> None:
    """A copy that is said to be older: sessions end, and followers of revocations begin anew."""
    ada, platform = installation.sign_up(), installation.platform
    for _ in range(2):
        ada.delete(f"/api/v1/keys/{ada.key()['id']}")
    marks = platform.journal.marks()
    assert marks.writes > 0
    assert marks.revocation == 2
    with platform.database.engine.begin() as connection:
        connection.execute(text("UPDATE epoch SET writes = 1"))

    housekeeping.begin(platform)

    assert refresh(installation.client, ada.refresh_token) == 401
    assert platform.journal.marks().writes > marks.writes
    news = installation.internal.get("/internal/v1/revocations?after=2").json()
    assert news["reset"]
    with platform.database.sessions.begin() as session:
        revocations.record(session, RevocationKind.USER, ada.id, now=platform.clock())
    after = installation.internal.get(f"/internal/v1/revocations?after={news['last']}").json()
    assert [item["id"] for item in after["items"]] == [ada.id]
    housekeeping.begin(platform)
    news = installation.internal.get(f"/internal/v1/revocations?after={after['last']}").json()
    assert not news["reset"]
