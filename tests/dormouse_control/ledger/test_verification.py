"""The proof that the ledger balances: it holds, and finds each kind of tampering."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from dormouse_control.groups.models import Group, GroupMember
from dormouse_control.identity.models import Role
from dormouse_control.ledger import verification
from dormouse_control.ledger.verification import Findings
from dormouse_control.naming import new_id

REFUSING = {
    "sqlite": [
        f"DROP TRIGGER {table}_no_{change}"
        for table in ("ledger_entry", "price_list")
        for change in ("update", "delete")
    ],
    "postgresql": ["SET LOCAL session_replication_role = replica"],
}


@pytest.fixture
def ledger(installation: Any, usage_event: Callable[..., Any], clock: Any) -> Any:
    """Two users, one in a group and with a key and a lease, and a lease that ended."""
    ada, bob = installation.sign_up(), installation.sign_up("bob@example.org")
    key, group = ada.key()["id"], new_id("grp")
    with installation.platform.database.sessions.begin() as session:
        session.add(Group(id=group, name="g", created_at=clock()))
        session.flush()
        member = {"group_id": group, "user_id": ada.id, "added_by": None, "added_at": clock()}
        session.add(GroupMember(**member))
    ask = {
        "credential": key,
        "user": ada.id,
        "lease": None,
        "seq": 1,
        "wanted": 9000,
        "returned": 0,
    }
    batch = {"holder": "0" * 16, "money": [ask]}
    lent = installation.internal.post("/internal/v1/leases", json=batch).json()["money"][0]
    again = ask | {"lease": lent["lease"], "seq": 2, "wanted": 0, "returned": 1000}
    installation.internal.post("/internal/v1/leases", json=batch | {"money": [again]})
    events = [
        usage_event(
            ada.id, "a-1", credential=key, lease=lent["lease"], time="2029-12-31T12:00:00Z"
        ),
        usage_event(ada.id, "a-2", credential=key, lease=lent["lease"]),
        usage_event(ada.id, "a-3"),
        usage_event(bob.id, "b-1", prompt_tokens=0, completion_tokens=0),
        usage_event(bob.id, "b-2", compute_ms=77, gpus=1),
    ]
    installation.internal.post("/internal/v1/events", json={"events": events})
    return installation


def verify(installation: Any) -> Findings:
    with installation.platform.database.reads() as reading:
        return verification.verify(reading)


def test_it_balances_to_the_unit(ledger: Any) -> None:
    # Of 9000 the lease gave 1000 back, and its calls cost 10,000: it has nothing outstanding.
    assert verify(ledger) == Findings(calls=5, entries=7, charged=20_000, outstanding=0)


def test_events_that_could_not_be_read_are_counted(ledger: Any) -> None:
    ledger.internal.post("/internal/v1/events", json={"events": ["nonsense", {"id": "x"}]})
    found = verify(ledger)
    assert (found.count, found.calls, found.rejected) == (0, 5, 2)


TAMPERINGS = [
    ("UPDATE usage_entry SET completion_tokens = 6 WHERE request_id = 'a-1'", "call a-1: by its"),
    ("UPDATE usage_entry SET cost_nano = 4999 WHERE request_id = 'a-3'", "call a-3: it costs 4999"),
    ("UPDATE usage_entry SET prices_id = 'x' WHERE request_id = 'b-2'", "call b-2: its prices x"),
    ("UPDATE usage_entry SET time = received_at WHERE request_id = 'a-1'", "not when it ended"),
    ("UPDATE usage_entry SET lease_id = 'lse_x' WHERE request_id = 'a-2'", "it names lease lse_x"),
    ("UPDATE usage_entry SET credential = 'key_x' WHERE request_id = 'a-2'", "key_x, day from"),
    ("DELETE FROM usage_entry WHERE request_id = 'a-3'", "charge of call a-3: there is no such"),
    (
        "UPDATE price_list SET prices = replace(prices, '0.0006', '0.0007')",
        "by its prices it costs",
    ),
    ("DELETE FROM ledger_entry WHERE request_id = 'b-2'", "call b-2: it was not charged"),
    ("UPDATE ledger_entry SET amount_nano = 1 WHERE request_id = 'b-2'", "and 1 was charged"),
    ("UPDATE ledger_entry SET groups = NULL", "grp_"),
    ("UPDATE ledger_entry SET kind = 'release' WHERE request_id = 'a-2'", "about something else"),
    ("UPDATE ledger_entry SET request_id = 'a' WHERE request_id = 'a-2'", "about something else"),
    ("UPDATE ledger_entry SET lease_id = NULL WHERE request_id = 'a-2'", "is stored as charged"),
    ("UPDATE ledger_entry SET user_id = 'usr_x' WHERE request_id = 'b-2'", "usr_x was charged"),
    ("UPDATE ledger_entry SET amount_nano = 1 WHERE kind = 'reserve'", "is stored as reserved"),
    ("DELETE FROM ledger_entry WHERE kind = 'release'", "1000 is stored as released"),
    ("UPDATE ledger_entry SET lease_id = NULL WHERE kind = 'release'", "not one that was ever"),
    ("UPDATE ledger_entry SET user_id = 'usr_x' WHERE kind = 'reserve'", "has entries of others"),
    (
        "UPDATE ledger_entry SET key = 'reserve:x:1' WHERE kind = 'reserve'",
        "reserve:x:1: it is not",
    ),
    ("DELETE FROM lease", "it has entries, and is missing"),
    ("UPDATE lease SET granted_nano = 20000", "20000 is stored as reserved"),
    (
        "UPDATE lease SET granted_nano = 99000, ended_at = created_at",
        "it has ended, and 88000 was not released",
    ),
    ("UPDATE spending SET nano = nano + 1 WHERE period = 'day' AND subject = 'key'", "key_"),
    (
        "UPDATE spending SET nano = nano - 1 WHERE period = 'month' AND subject = 'user'",
        "month from",
    ),
    ("DELETE FROM spending WHERE period = 'month' AND subject = 'group'", "0 is stored as spent"),
    (
        "UPDATE spending SET subject_id = 'usr_x' WHERE subject = 'user'",
        "usr_x has spent something",
    ),
    (
        "INSERT INTO ledger_entry (at, kind, key, user_id, amount_nano) "
        "VALUES (CURRENT_TIMESTAMP, 'charge', 'charge:z', 'usr_x', 5)",
        "charge of call z: there is no such call",
    ),
    (
        "INSERT INTO ledger_entry (at, kind, key, user_id, lease_id, amount_nano) "
        "VALUES (CURRENT_TIMESTAMP, 'reserve', 'reserve:lse_z:1', 'usr_x', 'lse_z', -5)",
        "entry reserve:lse_z:1: it is not",
    ),
]


@pytest.mark.parametrize(("change", "told"), TAMPERINGS, ids=[change for change, _ in TAMPERINGS])
def test_whoever_changes_something_is_found(ledger: Any, change: str, told: str) -> None:
    engine = ledger.platform.database.engine
    with engine.begin() as connection:
        for statement in REFUSING[engine.dialect.name]:
            connection.execute(text(statement))
        if "subject_id = 'usr_x'" in change:
            connection.execute(text("DELETE FROM spending WHERE subject_id IN (SELECT user_id "
                                    "FROM usage_entry WHERE request_id = 'b-2')"))  # fmt: skip
        assert connection.execute(text(change)).rowcount > 0

    found = verify(ledger)
    assert found.count == len(found.problems) > 0
    assert any(told in problem for problem in found.problems), found.problems


def test_of_very_many_problems_the_first_are_told(
    ledger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "MOST_PROBLEMS", 2)
    with ledger.platform.database.engine.begin() as connection:
        connection.execute(text("UPDATE usage_entry SET cost_nano = 1"))

    found = verify(ledger)
    assert (len(found.problems), found.count) == (2, 2 * 5)


def test_calls_of_the_first_release_have_no_prices_to_prove(ledger: Any) -> None:
    with ledger.platform.database.engine.begin() as connection:
        connection.execute(text("UPDATE usage_entry SET prices_id = NULL"))
    assert verify(ledger).count == 0


def test_it_reads_one_state_while_calls_are_booked(ledger: Any, usage_event: Any) -> None:
    with ledger.platform.database.reads() as reading:
        verification.verify(reading)
        with ledger.platform.database.reads() as other:
            user = other.execute(text("SELECT user_id FROM usage_entry")).scalars().first()
        events = [usage_event(user, "later")]
        ledger.internal.post("/internal/v1/events", json={"events": events})
        assert reading.scalar(text("SELECT count(*) FROM usage_entry")) == 5
    assert verify(ledger).calls == 6


def test_a_role_is_needed(ada: Any, with_role: Any) -> None:
    assert ada.get("/api/v1/ledger/verification").status_code == 403
    answer = with_role(Role.OPERATOR).get("/api/v1/ledger/verification")
    assert answer.json() == {
        "calls": 0,
        "entries": 0,
        "charged": 0,
        "outstanding": 0,
        "rejected": 0,
        "count": 0,
        "problems": [],
        "currency": answer.json()["currency"],
    }
