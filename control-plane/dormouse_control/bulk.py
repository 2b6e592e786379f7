"""Reads by many ids and writes many rows, several times as fast as with a parameter for each.

Rows are values in the order of `columns`, as Python has them: times with their zone, JSON as dicts
and lists. They are written in their order, so whoever gives them sorted waits for nobody in a
circle. Nothing here looks at objects that the session holds.
"""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any  # values of rows

import orjson
from sqlalchemy import JSON, ColumnElement, String, any_, bindparam, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session

from dormouse_control.db import Base, UtcDateTime

Rows = Sequence[Sequence[Any]]


def among(
    session: Session, column: InstrumentedAttribute[str], values: Collection[str]
) -> ColumnElement[bool]:
    """`column.in_(values)` with one parameter, however many there are: 1000 take milliseconds."""
    if session.get_bind().dialect.name == "postgresql":
        return column == any_(bindparam(None, sorted(values), type_=ARRAY(String)))
    given = orjson.dumps(list(values)).decode()
    return column.in_(select(func.json_each(given).table_valued("value").c.value))


def insert(session: Session, table: type[Base], columns: Sequence[str], rows: Rows) -> None:
    """Raises IntegrityError if one of them is there."""
    _write(session, table, columns, rows)


def insert_new(
    session: Session, table: type[Base], columns: Sequence[str], rows: Rows, *, unique: str
) -> set[str]:
    """Insert those whose `unique` is not there yet; the `unique` values of these.

    No two of the rows may have the same.
    """
    if not rows:
        return set()
    if session.get_bind().dialect.name == "postgresql":
        tail = f"ON CONFLICT ({unique}) DO NOTHING RETURNING {unique}"
        return set(_write(session, table, columns, rows, tail))
    # SQLite's one writer is we: nobody comes between.
    place = columns.index(unique)
    named = orjson.dumps([row[place] for row in rows]).decode()
    query = (
        f"SELECT {unique} FROM {table.__tablename__} "  # noqa: S608  our own names
        f"WHERE {unique} IN (SELECT value FROM json_each(?))"
    )
    there = set(session.connection().exec_driver_sql(query, (named,)).scalars())
    new = [row for row in rows if row[place] not in there] if there else rows
    _write(session, table, columns, new)
    return {row[place] for row in new}


def put(
    session: Session,
    table: type[Base],
    columns: Sequence[str],
    rows: Rows,
    *,
    unique: Sequence[str],
) -> None:
    """Insert them, or where `unique` is there already, set the other columns."""
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in unique)
    _write(session, table, columns, rows, f"ON CONFLICT ({', '.join(unique)}) DO UPDATE SET {sets}")


def add_up(
    session: Session,
    table: type[Base],
    columns: Sequence[str],
    rows: Rows,
    *,
    unique: Sequence[str],
    amount: str,
) -> None:
    """Insert them, or where `unique` is there already, raise `amount` by the row's."""
    more = f"{amount} = {table.__tablename__}.{amount} + excluded.{amount}"
    _write(session, table, columns, rows, f"ON CONFLICT ({', '.join(unique)}) DO UPDATE SET {more}")


def _write(
    session: Session, table: type[Base], columns: Sequence[str], rows: Rows, tail: str = ""
) -> Sequence[Any]:
    """What `tail` returns, if anything."""
    if not rows:
        return ()
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        given = orjson.dumps([dict(zip(columns, row, strict=True)) for row in rows]).decode()
        found = connection.exec_driver_sql(_of_json(table, tuple(columns), tail), (given,))
        return found.scalars().all() if found.returns_rows else ()
    # To bind a null takes longer than to leave out its column.
    used = [place for place in range(len(columns)) if any(row[place] is not None for row in rows)]
    names = tuple(columns[place] for place in used)
    values = [[row[place] for row in rows] for place in used]
    for place, name in enumerate(names):
        convert = _converter(table, name)
        if convert is not None:
            values[place] = _converted(values[place], convert)
    statement = _of_marks(table, names, tail)
    connection.exec_driver_sql(statement, list(zip(*values, strict=True)))
    return ()


@cache
def _of_marks(table: type[Base], columns: tuple[str, ...], tail: str) -> str:
    marks = ", ".join("?" for _ in columns)
    return (
        f"INSERT INTO {table.__tablename__} ({', '.join(columns)}) "  # noqa: S608  our own names
        f"VALUES ({marks}) {tail}"
    )


@cache
def _of_json(table: type[Base], columns: tuple[str, ...], tail: str) -> str:
    names = ", ".join(columns)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    types = ", ".join(f"{name} {table.__table__.c[name].type.compile(dialect)}" for name in columns)
    return (
        f"INSERT INTO {table.__tablename__} ({names}) SELECT {names} "  # noqa: S608  our own names
        f"FROM json_to_recordset(%s::json) AS given ({types}) {tail}"
    )


@cache
def _converter(table: type[Base], name: str) -> Callable[[Any], Any] | None:
    """Writes what SQLite has no type for as SQLAlchemy does."""
    kind = table.__table__.c[name].type
    if isinstance(kind, UtcDateTime):
        return _time
    return _json if isinstance(kind, JSON) else None


def _converted(values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """Each object once: most rows of a batch share their times."""
    known: dict[int, Any] = {}
    for value in values:
        if id(value) not in known:
            known[id(value)] = convert(value)
    return [known[id(value)] for value in values]


def _time(value: datetime | None) -> str | None:
    if value is None:
        return None
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value)
