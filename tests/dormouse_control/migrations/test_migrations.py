from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from dormouse_control import migrations, tables
from dormouse_control.db import connect
from dormouse_control.migrations.run import HEAD, revision, upgrade


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    found = connect(database_url).engine
    yield found
    found.dispose()


def test_an_empty_database_gets_exactly_the_tables_of_the_models(engine: Engine) -> None:
    upgrade(engine)

    with engine.connect() as connection:
        assert revision(connection) == HEAD
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, tables.METADATA) == []
    migrated = _constraints(engine)
    # Alembic compares neither checks nor names, so make the tables in the other way too.
    with engine.begin() as connection:
        tables.METADATA.drop_all(connection)
        tables.METADATA.create_all(connection)
    assert _constraints(engine) == migrated


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        row = "(1, 'user', 'x', '2030-01-01', false)"
        columns = "seq, kind, subject, created_at, cuts"
        connection.execute(text(f"INSERT INTO revocation ({columns}) VALUES {row}"))  # noqa: S608
    upgrade(engine)

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM revocation")) == 1


def test_several_control_planes_may_start_at_once(
    engine: Engine, at_once: Callable[..., list[Any]]
) -> None:
    at_once(4, lambda: upgrade(engine))

    with engine.connect() as connection:
        assert revision(connection) == HEAD


def test_a_migration_that_fails_leaves_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dormouse_control.migrations import run

    whole = run._migrate

    def killed(connection: Any) -> None:
        whole(connection)
        raise RuntimeError("killed")

    monkeypatch.setattr(run, "_migrate", killed)
    with pytest.raises(RuntimeError, match="killed"):
        upgrade(engine)

    assert inspect(engine).get_table_names() == []


def test_head_is_the_newest_file() -> None:
    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])

    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_migrated_database_starts_without_alembic(migrated_file: Path) -> None:
    """Which takes a quarter of a second to import."""
    import subprocess
    import sys

    code = (
        "import sys; from dormouse_control.db import connect;"
        "from dormouse_control.migrations.run import upgrade;"
        f"upgrade(connect('sqlite:///{migrated_file}').engine);"
        "assert 'sqlalchemy' in sys.modules; assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_table_has_a_place_in_the_schema() -> None:
    assert {table.__tablename__ for table in tables.TABLES} == set(tables.METADATA.tables)


def _constraints(engine: Engine) -> dict[str, Any]:
    seen = inspect(engine)
    return {
        table: (
            sorted(check["name"] or "" for check in seen.get_check_constraints(table)),
            sorted(unique["name"] or "" for unique in seen.get_unique_constraints(table)),
            sorted(foreign["name"] or "" for foreign in seen.get_foreign_keys(table)),
            sorted(index["name"] or "" for index in seen.get_indexes(table)),
            seen.get_pk_constraint(table)["name"],
        )
        for table in tables.METADATA.tables
    }
