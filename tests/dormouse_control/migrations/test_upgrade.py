"""From the first release's database to this one: nothing is lost, whenever it is killed."""

import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, MetaData, Table, event, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from dormouse_control import migrations
from dormouse_control.db import connect
from dormouse_control.migrations.run import HEAD, revision, upgrade

TIME = "2029-12-31 23:59:58.123456"

ROWS: Mapping[str, list[dict[str, Any]]] = {
    "user": [
        {
            "id": f"usr_{name}",
            "email": f"{name}@example.org",
            "password_hash": f"hash of {name}",
            "status": status,
            "tier": "free",
            "created_at": TIME,
        }
        for name, status in (("ada", "active"), ("eve", "disabled"))
    ],
    "session": [
        {
            "id": "ses_1",
            "user_id": "usr_ada",
            "seq": 3,
            "created_at": TIME,
            "expires_at": TIME,
            "rotated_at": None,
            "last_used_at": TIME,
            "revoked_at": TIME,
        }
    ],
    "api_key": [
        {
            "id": "key_1",
            "user_id": "usr_eve",
            "name": "Schlüssel",
            "prefix": "dm_abcdef",
            "sha256": "a" * 64,
            "created_at": TIME,
            "last_used_at": None,
            "revoked_at": None,
        }
    ],
    "entitlement": [
        {
            "id": f"ent_{status}",
            "user_id": "usr_ada",
            "service": service,
            "status": status,
            "created_at": TIME,
        }
        for service, status in (("chat", "active"), ("draw", "pending"))
    ],
    "revocation": [
        {"seq": seq, "kind": kind, "subject": "usr_ada", "created_at": TIME}
        for seq, kind in ((4, "user"), (7, "session"))
    ],
    "usage_entry": [
        {
            "id": 12,
            "request_id": "req-1",
            "time": TIME,
            "user_id": "usr_ada",
            "credential": "key_1",
            "service": "chat",
            "model": "small",
            "version": None,
            "endpoint": "completions",
            "outcome": "completed",
            "prompt_tokens": 2**40,
            "completion_tokens": 1,
            "duration_ms": 1,
            "queue_ms": 1,
            "load_ms": 1,
            "cold_start_ms": 0,
            "end_user": None,
            "cost_nano": 2**50,
            "received_at": TIME,
        }
    ],
    "rejected_event": [
        {"id": 2, "digest": "d" * 64, "reason": "x", "document": "{}", "received_at": TIME}
    ],
}

NEW: Mapping[str, dict[str, Any]] = {
    "user": {
        "role": "user",
        "email_verified_at": None,
        "totp_sealed": None,
        "totp_confirmed_at": None,
        "totp_last_step": None,
    },
    "session": {"method": "password", "second_factor": False, "address": None, "user_agent": None},
    "api_key": {
        "expires_at": None,
        "services": None,
        "models": None,
        "endpoints": None,
        "ip_ranges": None,
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "concurrent_calls": None,
        "tags": None,
        "budget_nano": None,
        "budget_period": None,
    },
    "entitlement": {"expires_at": None, "reason": None, "decided_by": None, "decided_at": None},
    "revocation": {"service": None, "cuts": False},
    "usage_entry": {
        "compute_ms": 0,
        "gpus": 0,
        "audio_ms": 0,
        "images": 0,
        "loads": 0,
        "lease_id": None,
        "predictor": None,
        "estimated": False,
        "tags": None,
        "idle_ms": None,
        "prices_id": None,
    },
    "rejected_event": {},
}
"""What the columns that the first release did not have begin with."""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A database of the first release, with somebody in it."""
    found = connect(database_url).engine
    with found.begin() as connection:
        config = Config()
        config.set_main_option("script_location", migrations.__path__[0])
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, rows in ROWS.items():
            for row in rows:
                names = ", ".join(row)
                values = ", ".join(f":{name}" for name in row)
                insert = f'INSERT INTO "{table}" ({names}) VALUES ({values})'  # noqa: S608
                connection.execute(text(insert), row)
        if found.dialect.name == "postgresql":  # as if it had given these numbers itself
            for table, column in (("revocation", "seq"), ("usage_entry", "id")):
                counted = f"pg_get_serial_sequence('{table}', '{column}')"
                connection.execute(text(f"SELECT setval({counted}, 12)"))
    yield found
    found.dispose()


def test_nothing_is_lost_and_new_columns_begin_right(engine: Engine) -> None:
    before = _content(engine)
    upgrade(engine)

    after = _content(engine)
    for table in ROWS:
        expected = [row | NEW[table] for row in before[table]]
        if table == "user":  # the only tier that there is from now on
            expected = [row | {"tier": "standard"} for row in expected]
        assert after[table] == expected
    assert [tier["id"] for tier in after["tier"]] == ["standard"]


def test_calls_that_were_booked_are_charges_of_the_ledger(engine: Engine) -> None:
    upgrade(engine)

    with engine.connect() as connection:
        (entry,) = connection.execute(text("SELECT * FROM ledger_entry")).mappings()
        sums = connection.execute(
            text("SELECT subject, subject_id, period, nano FROM spending ORDER BY 2, 3")
        ).all()
    assert (entry["kind"], entry["key"], entry["amount_nano"]) == ("charge", "charge:req-1", 2**50)
    assert [tuple(row) for row in sums] == [
        (subject, id, period, 2**50)
        for subject, id in (("key", "key_1"), ("user", "usr_ada"))
        for period in ("day", "month")
    ]


@pytest.mark.parametrize("change", ["UPDATE ledger_entry SET amount_nano = 0", "DELETE FROM"])
def test_the_database_itself_refuses_changes_of_the_ledger(engine: Engine, change: str) -> None:
    upgrade(engine)

    change = change.replace("DELETE FROM", "DELETE FROM ledger_entry")
    with pytest.raises(DBAPIError, match="only ever added to"), engine.begin() as connection:
        connection.execute(text(change))


def test_references_and_numbers_hold_afterwards(engine: Engine) -> None:
    upgrade(engine)

    with engine.begin() as connection:
        insert = "INSERT INTO revocation (kind, subject, created_at, cuts)"
        connection.execute(text(f"{insert} VALUES ('user', 'x', '{TIME}', false)"))
        assert connection.scalar(text("SELECT max(seq) FROM revocation")) > 7
    for wrong in (
        "UPDATE \"user\" SET tier = 'none'",
        "UPDATE session SET user_id = 'usr_nobody'",
        "UPDATE \"user\" SET role = 'king'",
        "UPDATE entitlement SET status = 'perhaps'",
        "DELETE FROM \"user\" WHERE id = 'usr_ada'",
    ):
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(text(wrong))


def _some(total: int) -> list[int]:
    """The first and last statements, and every ninth between."""
    return sorted({1, 2, *range(3, total, 9), total - 1, total})


def test_r17_killed_at_some_statements_it_leaves_everything_as_it_was(engine: Engine) -> None:
    _kill(engine, _some(_statements(engine)))


@pytest.mark.slow
def test_r17_killed_at_every_statement_it_leaves_everything_as_it_was(engine: Engine) -> None:
    _kill(engine, range(1, _statements(engine) + 1))


def _kill(engine: Engine, numbers: Any) -> None:
    before = (_content(engine), _shape(engine))
    for number in numbers:
        engine.dispose()
        assert _killed(engine, number), f"the migration ended before statement {number}"
        with engine.connect() as connection:
            assert revision(connection) == "0001"
        assert (_content(engine), _shape(engine)) == before, f"killed at statement {number}"
    upgrade(engine)
    with engine.connect() as connection:
        assert revision(connection) == HEAD


def _statements(engine: Engine) -> int:
    """How many the migration has, its COMMIT included."""
    seen = []

    class Enough(Exception):
        pass

    def stop(_connection: Connection) -> None:
        raise Enough

    event.listen(engine, "before_cursor_execute", lambda *_: seen.append(1))
    event.listen(engine, "commit", stop)
    with pytest.raises(Enough):
        upgrade(engine)
    event.remove(engine, "commit", stop)
    engine.dispose()
    return len(seen) + 1


def _killed(engine: Engine, number: int) -> bool:
    """A process of its own upgrades, and is killed before that statement."""
    child = os.fork()
    if child == 0:
        try:
            here = connect(engine.url.render_as_string(hide_password=False)).engine
            left = [number]

            def count(*_: object) -> None:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            event.listen(here, "before_cursor_execute", count)
            event.listen(here, "commit", count)
            upgrade(here)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _content(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    with engine.connect() as connection:
        found = {}
        for name in sorted(inspect(connection).get_table_names()):
            table = Table(name, MetaData(), autoload_with=connection)
            key = list(table.primary_key.columns) or list(table.columns)
            rows = connection.execute(select(table).order_by(*key))
            found[name] = [dict(row._mapping) for row in rows]
        return found


def _shape(engine: Engine) -> dict[str, Any]:
    seen = inspect(engine)
    return {
        name: [
            [(column["name"], str(column["type"])) for column in seen.get_columns(name)],
            sorted(str(check) for check in seen.get_check_constraints(name)),
            sorted(str(index) for index in seen.get_indexes(name)),
            sorted(str(foreign) for foreign in seen.get_foreign_keys(name)),
        ]
        for name in seen.get_table_names()
    }
