"""The database: engine, sessions, and what all tables share. Knows no table.

SQLite is for one process: WAL, every commit synced, and writers take the lock when they begin, so
that none fails half-way. Reading sessions never wait for it. PostgreSQL is for several processes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any  # rows and DBAPI objects, as SQLAlchemy types them

from sqlalchemy import (
    Connection,
    DateTime,
    Dialect,
    Engine,
    Enum,
    MetaData,
    TypeDecorator,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session, sessionmaker

THREADS = 16
"""Most requests that use the database at once; each holds one connection."""

NUMBERED = "numbered"
"""The turn of whoever adds to a table whose numbers must appear in order."""

_LOCK_WAIT_SECONDS = 10
_READ_ONLY = "dormouse_read_only"
_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes only. SQLite keeps no zone, so there it is UTC by definition."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {datetime: UtcDateTime()}  # noqa: RUF012  SQLAlchemy's own declaration


def choice(kind: type[StrEnum], column: str) -> Enum:
    """A checked text, because a value once added to PostgreSQL's own enums stays for ever."""
    return Enum(
        kind,
        name=column,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda found: [member.value for member in found],
    )


@dataclass(frozen=True)
class Database:
    """`sessions` may write; `reads` sees one state and never waits for a writer."""

    engine: Engine
    sessions: sessionmaker[Session]
    reads: sessionmaker[Session]


def connect(url: str) -> Database:
    """Opens nothing yet. Raises SQLAlchemy's ArgumentError if the URL is not one."""
    engine = _engine(url)
    reading = engine.execution_options(**{_READ_ONLY: True})
    return Database(
        engine=engine,
        sessions=sessionmaker(engine, expire_on_commit=False),
        reads=sessionmaker(reading, expire_on_commit=False),
    )


def insert_new(
    session: Session,
    table: type[Base],
    rows: Sequence[dict[str, Any]],
    *,
    unique: tuple[InstrumentedAttribute[Any], ...],
    returning: InstrumentedAttribute[str],
) -> set[str]:
    """Insert the rows that collide with none in `unique`; the `returning` values of those."""
    if not rows:
        return set()
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    # In one order everywhere, so that two batches of the same rows cannot wait for each other.
    ordered = sorted(rows, key=lambda row: [row[column.key] for column in unique])
    statement = dialect.insert(table).on_conflict_do_nothing(index_elements=unique)
    return set(session.scalars(statement.returning(returning), ordered))


def take_turn(session: Session, subject: str) -> None:
    """Until this transaction ends, others that name the same subject wait here.

    `NUMBERED` comes after every other subject and row, or two could wait for each other.

    For SQLite nothing is to be done: its writers wait for each other anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], signed=True)
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": number})


def is_full(error: BaseException) -> bool:
    """Whether a statement failed because nothing more can be stored."""
    found = getattr(error, "orig", None)
    return (
        getattr(found, "sqlstate", None) == "53100"
        or getattr(found, "sqlite_errorname", None) == "SQLITE_FULL"
    )


def _engine(url: str) -> Engine:
    address = make_url(url)
    if address.drivername in ("postgresql", "postgres"):
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
        raise ValueError("database_url: SQLite needs a file, because every thread connects itself")
    # Parameters hold password hashes: never in an error's text.
    engine = create_engine(
        address, pool_size=THREADS, max_overflow=4, pool_timeout=10, hide_parameters=True
    )
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "checkin", _end_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    for pragma in (
        f"busy_timeout = {_LOCK_WAIT_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",
        # 32 MB: pages that many commits change are written back once, which saves a quarter of
        # the time that it takes to book calls.
        "wal_autocheckpoint = 8000",
        "foreign_keys = ON",
        # What somebody erased is overwritten; not every build of SQLite does so by itself.
        "secure_delete = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _end_sqlite(connection: Any, _record: object) -> None:
    # After a COMMIT that failed SQLAlchemy takes the transaction for ended. It is not, and would
    # hold the one writer's lock from inside the pool.
    if connection is not None and connection.in_transaction:
        connection.rollback()
