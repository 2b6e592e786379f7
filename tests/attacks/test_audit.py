"""T109, R37: what stands in the audit log can be neither changed nor missing unseen."""

import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, insert, select, update

from attacks.matrix import Trial
from attacks.people import People, people
from dormouse_control.audit.models import AuditEntry, Outcome
from dormouse_control.audit.operations import Head, head, verify
from dormouse_control.audit.record import FIRST, Actor, chained, record
from dormouse_control.db import connect
from dormouse_control.identity.models import ApiKey, Role
from fixtures.operations import Operation, operations

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TABLE = AuditEntry.__table__


def fill(platform: Any, entries: int = 20) -> None:
    with platform.database.sessions.begin() as session:
        for number in range(entries):
            record(
                session,
                "key.create",
                actor=Actor(f"usr_{number}", f"ses_{number}", "10.0.0.1", f"req-{number}"),
                subject=f"key_{number}",
                now=NOW + timedelta(seconds=number, microseconds=number),
                details={"number": number, "names": ["a", "b"], "nothing": None},
            )


def checked(platform: Any, expect: Head | None = None) -> str | None:
    with platform.database.reads() as reading:
        return verify(reading, expect=expect).problem


def tamper(platform: Any, statement: Any) -> None:
    with platform.database.sessions.begin() as session:
        assert session.execute(statement).rowcount != 0


def row_of(platform: Any, seq: int) -> dict[str, Any]:
    with platform.database.reads() as reading:
        return dict(reading.execute(select(TABLE).where(TABLE.c.seq == seq)).mappings().one())


@pytest.fixture
def filled(installation: Any) -> Any:
    fill(installation.platform)
    assert checked(installation.platform) is None
    return installation.platform


CHANGES: dict[str, Any] = {
    "time": NOW + timedelta(microseconds=3),
    "actor": "usr_other",
    "credential": None,
    "address": "10.0.0.2",
    "request_id": "req",
    "action": "key.revoke",
    "outcome": Outcome.REFUSED,
    "subject": "key_1",
    "details": "{}",
    "hash": "0" * 64,
}


@pytest.mark.parametrize("seq", [1, 7, 20])
@pytest.mark.parametrize("column", CHANGES)
def test_t109_a_changed_entry_is_found(filled, column, seq) -> None:
    tamper(
        filled, update(AuditEntry).where(AuditEntry.seq == seq).values({column: CHANGES[column]})
    )

    assert checked(filled) == f"entry {seq} was changed"


def test_t109_a_spoilt_hash_before_is_found(filled) -> None:
    tamper(filled, update(AuditEntry).where(AuditEntry.seq == 7).values(previous="0" * 64))

    assert checked(filled) == "entry 7 does not follow the one before it"


def test_t109_the_hash_covers_the_one_before(platform) -> None:
    fill(platform, 2)
    row = row_of(platform, 2)

    assert chained(row) == row["hash"]
    assert chained(row | {"previous": "0" * 64}) != row["hash"]


@pytest.mark.parametrize("seq", [1, 7, 19])
def test_t109_a_missing_entry_is_found(filled, seq) -> None:
    tamper(filled, delete(AuditEntry).where(AuditEntry.seq == seq))

    assert checked(filled) == f"entry {seq} is missing"


def test_t109_a_gap_that_was_closed_is_found(filled) -> None:
    tamper(filled, delete(AuditEntry).where(AuditEntry.seq == 7))
    for seq in range(8, 21):
        tamper(filled, update(AuditEntry).where(AuditEntry.seq == seq).values(seq=seq - 1))

    assert checked(filled) == "entry 7 does not follow the one before it"


def test_t109_two_entries_that_changed_places_are_found(filled) -> None:
    for old, new in ((7, 1000), (8, 7), (1000, 8)):
        tamper(filled, update(AuditEntry).where(AuditEntry.seq == old).values(seq=new))

    assert checked(filled) == "entry 7 does not follow the one before it"


def test_t109_an_entry_that_was_written_again_with_its_hash_is_found(filled) -> None:
    """Whoever can compute hashes must also write every entry after it again."""
    row = row_of(filled, 7) | {"subject": "key_other"}
    tamper(
        filled,
        update(AuditEntry)
        .where(AuditEntry.seq == 7)
        .values(subject="key_other", hash=chained(row | {"outcome": Outcome.DONE})),
    )

    assert checked(filled) == "entry 8 does not follow the one before it"


def test_t109_an_entry_put_in_is_found(filled) -> None:
    row = row_of(filled, 20) | {"seq": 0, "hash": "1" * 64}
    tamper(filled, insert(TABLE).values(row))

    assert checked(filled) == "entry 1 is missing"


def test_t109_entries_cut_off_at_the_end_are_found_by_who_noted_the_head(filled) -> None:
    with filled.database.reads() as reading:
        noted = head(reading)
    assert checked(filled, noted) is None
    fill(filled, 3)
    assert checked(filled, noted) is None
    tamper(filled, delete(AuditEntry).where(AuditEntry.seq > 15))

    assert checked(filled) is None
    assert checked(filled, noted) == "entry 16 is missing, and so is all up to entry 20"
    fill(filled, 10)
    assert checked(filled) is None
    assert checked(filled, noted) == "entry 20 is not the one that was noted"


def test_t109_a_log_that_was_emptied_is_found_by_who_noted_the_head(filled) -> None:
    with filled.database.reads() as reading:
        noted = head(reading)
    tamper(filled, delete(AuditEntry))

    assert checked(filled) is None
    assert checked(filled, Head(0, FIRST)) is None
    assert checked(filled, noted) == "entry 1 is missing, and so is all up to entry 20"


@pytest.mark.parametrize("value", ["x", 7, 1.5, b"\xff\x00", ""], ids=repr)
@pytest.mark.parametrize("column", ["time", "outcome", "details", "action", "hash", "subject"])
def test_t109_values_that_no_entry_could_hold_are_found(settings, platform, column, value) -> None:
    """SQLite lets every column hold everything."""
    if not settings.database_url.startswith("sqlite"):
        pytest.skip("PostgreSQL refuses them")
    fill(platform)
    with sqlite3.connect(settings.database_url.removeprefix("sqlite:///")) as database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        database.execute(f"UPDATE audit_entry SET {column} = ? WHERE seq = 7", (value,))  # noqa: S608
    database.close()

    assert checked(platform) == "entry 7 was changed"


NASTY = (
    "a\r\nb",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\u202eabc\u202c\u2066x\u2069",
    "\u2028line\u2029",
    "\x00nul",
    '","hash":"0',
    "\ud800",
    "é𝄞\ufeff",
)


@pytest.mark.parametrize("value", NASTY, ids=ascii)
def test_t109_nothing_in_details_steers_terminals_or_breaks_lines(installation, value) -> None:
    platform = installation.platform
    with platform.database.sessions.begin() as session:
        details = {"name": value, "names": [value]}
        record(session, "key.create", actor=Actor(), subject="key_1", now=NOW, details=details)
    stored = row_of(platform, 1)["details"]

    assert stored.isascii()
    assert stored.isprintable()
    assert json.loads(stored) == details
    assert checked(platform) is None


def test_t109_names_that_people_choose_cannot_forge_an_entry(administrator, platform) -> None:
    name = 'x","action":"user.delete","subject":"usr_1\\r\\n{"seq": 1}'
    made = administrator.post("/api/v1/keys", {"name": name})
    answer = administrator.get(f"/api/v1/audit?subject={made.json()['id']}")

    assert made.status_code == 201
    assert [each["action"] for each in answer.json()["items"]] == ["key.create"]
    assert checked(platform) is None


def test_a_time_of_another_zone_is_the_same_time(installation) -> None:
    platform = installation.platform
    there = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=7)))
    with platform.database.sessions.begin() as session:
        record(session, "key.create", actor=Actor(), subject=None, now=there)

    assert checked(platform) is None


def test_t109_parallel_changes_make_one_chain(installation, at_once) -> None:
    platform, ada = installation.platform, installation.sign_up()
    answers = at_once(16, lambda: ada.post("/api/v1/keys", {"name": "x"}).status_code)

    assert set(answers) == {201}
    assert checked(platform) is None
    with platform.database.reads() as reading:
        assert verify(reading).entries >= 16


def test_t109_no_record_without_its_change(installation) -> None:
    platform = installation.platform
    with platform.database.sessions() as session:
        record(session, "key.create", actor=Actor(), subject="key_1", now=NOW)
        session.rollback()

    with platform.database.reads() as reading:
        assert head(reading) == Head(0, FIRST)


@pytest.mark.slow
def test_t109_ten_thousand_operations_leave_a_sound_chain(installation) -> None:
    platform, choose = installation.platform, random.Random(1)  # noqa: S311
    for batch in range(100):
        fill(platform, 99)
        with platform.database.sessions() as session:
            record(session, "key.create", actor=Actor(), subject="key_x", now=NOW)
            session.commit() if choose.random() < 0.5 else session.rollback()
        if batch % 20 == 0:
            assert checked(platform) is None

    with platform.database.reads() as reading:
        found = verify(reading)
    assert (found.problem, found.entries) == (None, found.last.seq)
    assert found.entries > 9900


# ---- every change leaves an entry ----------------------------------------------------------------

NO_ENTRY = {
    # Signing in and keeping the session change nobody's rights; refused attempts are entered.
    "POST:/api/v1/sessions",
    "POST:/api/v1/sessions/code",
    "POST:/api/v1/sessions/refresh",
    # These only send a link, if there is an account; what the link does is entered.
    "POST:/api/v1/verifications",
    "POST:/api/v1/resets",
    # These only begin what is entered when it is confirmed.
    "POST:/api/v1/me/second-factor",
    "POST:/api/v1/me/identities/{provider}",
    # A call that is given up is in the usage, like all calls.
    "DELETE:/api/v1/requests/{id}",
}
PROVED_ELSEWHERE = {
    # They need a token that was mailed or shown; their own tests look at their entries.
    "POST:/api/v1/verifications/confirm",
    "POST:/api/v1/resets/confirm",
    "POST:/api/v1/administrators",
}


@pytest.fixture
def everybody(platform: Any, clock: Any) -> Any:
    with people(platform, clock) as found:
        yield found


def _changing(everybody: People) -> list[Operation]:
    document = everybody.call("GET", "/api/v1/openapi.json").body
    unsafe = ("POST", "PUT", "PATCH", "DELETE")
    return [each for each in operations(document) if each.method in unsafe]


def test_t109_every_operation_that_changes_something_leaves_an_entry(everybody) -> None:
    platform = everybody.platform
    without = []
    for operation in _changing(everybody):
        if operation.id in NO_ENTRY | PROVED_ELSEWHERE:
            continue
        owner = everybody.new(operation.role or Role.USER)
        trial = Trial(operation, everybody)
        if operation.id == "POST:/api/v1/registrations":
            before = _entries(platform)
            everybody.new()
        else:
            values = trial.values(owner)
            bearer = [("authorization", f"Bearer {owner.access_token}")]
            if operation.id == "DELETE:/api/v1/sessions/others":
                everybody.again(owner)
            if operation.id == "PUT:/api/v1/groups/{id}/members/{user}":
                everybody.root.made("DELETE", operation.filled(values))  # to be no member yet
            before = _entries(platform)
            reply = trial.send(values, headers=bearer, owner=owner)
            assert trial.succeeds(reply), f"{operation.id}: {reply.status} {reply.text}"
        if len(_entries(platform)) <= len(before):
            without.append(operation.id)

    assert without == []
    assert checked(platform) is None


def test_t109_every_refused_act_of_an_administrator_leaves_an_entry(everybody) -> None:
    platform, nobody = everybody.platform, everybody.new()
    refused = [each for each in _changing(everybody) if each.role not in (None, Role.USER)]
    for operation in refused:
        before = _entries(platform)
        trial = Trial(operation, everybody)
        bearer = [("authorization", f"Bearer {nobody.access_token}")]
        reply = trial.send(dict.fromkeys(operation.parameters, "x"), headers=bearer)
        assert reply.status == 403
        [entry] = _entries(platform)[len(before) :]
        assert (entry.action, entry.outcome, entry.actor, entry.subject) == (
            "operation.refuse",
            Outcome.REFUSED,
            nobody.id,
            operation.name,
        )

    assert len(refused) > 10


def _entries(platform: Any) -> list[AuditEntry]:
    with platform.database.reads() as reading:
        return list(reading.scalars(select(AuditEntry).order_by(AuditEntry.seq)))


def test_t109_no_secret_and_no_address_of_mail_stands_in_the_log(everybody) -> None:
    secrets = ["correct horse battery"]
    for operation in _changing(everybody):
        if operation.role is None:
            continue
        owner = everybody.new(operation.role)
        trial = Trial(operation, everybody)
        values = trial.values(owner)
        bearer = [("authorization", f"Bearer {owner.access_token}")]
        reply = trial.send(values, headers=bearer, owner=owner)
        secrets += [owner.email, owner.access_token, owner.refresh_token, *_secrets(reply.body)]
    written = "\n".join(repr(vars(entry)) for entry in _entries(everybody.platform))

    assert len(secrets) > 50
    assert [secret for secret in secrets if secret in written] == []
    assert "@" not in written


def _secrets(body: Any) -> list[str]:
    named = ("key", "token", "secret", "uri", "access_token", "refresh_token", "link")
    found = [body[name] for name in named if isinstance(body, dict) and name in body]
    codes = body.get("recovery_codes", []) if isinstance(body, dict) else []
    return [each for each in [*found, *codes] if isinstance(each, str)]


# ---- kill -9 -------------------------------------------------------------------------------------


# httpx leaks the socket of a connection that was refused.
leaking = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@leaking
def test_r37_a_kill_leaves_no_change_without_entry_and_no_entry_without_change(
    start_control_plane,
) -> None:
    _kill_loop(start_control_plane, rounds=3)


@leaking
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_r37_many_kills_leave_no_change_without_entry(start_control_plane) -> None:
    _kill_loop(start_control_plane, rounds=50)


def _kill_loop(start: Callable[[], Any], *, rounds: int) -> None:
    acknowledged: list[str] = []
    noted: Head | None = None
    choose = random.Random(37)  # noqa: S311
    for round in range(rounds):
        process = start().wait()
        shared = (process, round, acknowledged)
        callers = [threading.Thread(target=_create, args=(*shared, n)) for n in range(4)]
        for caller in callers:
            caller.start()
        time.sleep(1.0 + choose.random())
        process.popen.kill()
        for caller in callers:
            caller.join()
        process.popen.wait()
        noted = _sound(process, acknowledged, noted)
    assert len(acknowledged) > 10 * rounds


def _create(process: Any, round: int, acknowledged: list[str], caller: int) -> None:
    account = {"email": f"u{round}-{caller}@example.org", "password": "correct horse battery"}
    transport = httpx.HTTPTransport(uds=str(process.home / "run" / "control-plane.sock"))
    with httpx.Client(transport=transport, base_url="http://x", timeout=30) as client:
        try:
            acknowledged.append(client.post("/api/v1/registrations", json=account).json()["id"])
            token = client.post("/api/v1/sessions", json=account).json()["access_token"]
            bearer = {"authorization": f"Bearer {token}"}
            while True:
                made = client.post("/api/v1/keys", json={"name": "x"}, headers=bearer)
                acknowledged.append(made.json()["id"])
                gone = client.delete(f"/api/v1/keys/{made.json()['id']}", headers=bearer)
                assert gone.status_code == 204
        except (httpx.TransportError, KeyError):
            return


def _sound(process: Any, acknowledged: list[str], noted: Head | None) -> Head:
    """The log's head. Looks into the file that the killed process left."""
    database = connect(f"sqlite:///{process.home / 'dormouse.db'}")
    with database.reads() as reading:
        found = verify(reading, expect=noted)
        by_action: dict[str, set[str | None]] = {}
        for action, subject in reading.execute(select(AuditEntry.action, AuditEntry.subject)):
            by_action.setdefault(action, set()).add(subject)
        keys = reading.execute(select(ApiKey.id, ApiKey.revoked_at)).all()
    database.engine.dispose()
    assert found.problem is None
    assert {key.id for key in keys} == by_action.get("key.create", set())
    assert {key.id for key in keys if key.revoked_at} == by_action.get("key.revoke", set())
    assert set(acknowledged) <= set().union(*by_action.values())
    return found.last
