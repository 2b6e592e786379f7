"""Usage as CSV and Parquet: every charge, exact, and nothing that a spreadsheet runs."""

import csv
import io
import json
import random
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import func, insert, select, update

from dormouse_control.identity.models import Role, User
from dormouse_control.ledger.models import LedgerEntry
from dormouse_control.usage import export, files
from dormouse_control.usage.filters import Filters
from dormouse_control.usage.models import UsageEntry

Book = Callable[..., Any]
PATH = "/api/v1/usage/export"


def read(account: Any, query: str = "", path: str = PATH) -> list[dict[str, Any]]:
    """Both formats, which have to say the same; as Parquet has it."""
    tables = []
    for format in ("csv", "parquet"):
        answer = account.get(f"{path}?format={format}&{query}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-disposition"] == f'attachment; filename="usage.{format}"'
        assert answer.headers["content-type"] == files.TYPES[format]  # type: ignore[index]
        tables.append(answer.content)
    lines = list(csv.DictReader(io.StringIO(tables[0].decode(), newline="")))
    rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(tables[1])).to_pylist()
    assert [{name: files._cell(value) for name, value in row.items()} for row in rows] == lines
    return rows


def test_a_row_for_every_hour_user_key_service_model_and_tags(ada: Any, booked: Book) -> None:
    one = {"compute_ms": 10, "gpus": 2, "idle_ms": 5, "load_ms": 3, "tags": {"project": "a"}}
    booked(ada, **one, time=datetime(2030, 1, 1, 12, 0, tzinfo=UTC), cost_nano=1)
    booked(ada, **one, time=datetime(2030, 1, 1, 12, 59, 59, tzinfo=UTC), cost_nano=2)
    booked(ada, **{**one, "tags": {}}, cost_nano=4)
    booked(ada, **one, time=datetime(2030, 1, 1, 13, tzinfo=UTC), cost_nano=8)
    booked(ada, **one, credential="ses_1", cost_nano=16)
    rows = read(ada)
    first = next(row for row in rows if row["requests"] == 2)
    assert first == {
        "hour": datetime(2030, 1, 1, 12, tzinfo=UTC),
        "user": ada.id,
        "key": "key_1",
        "service": "chat",
        "model": "small",
        "tags": '{"project": "a"}',
        "requests": 2,
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "audio_ms": 0,
        "images": 0,
        "compute_ms": 20,
        "gpu_ms": 40,
        "load_ms": 6,
        "idle_ms": 10,
        "cost": Decimal("0.000000003"),
        "currency": "USD",
    }
    assert sorted(row["cost"] * 10**9 for row in rows) == [3, 4, 8, 16]
    assert [row["key"] for row in rows].count(None) == 1


def test_every_call(ada: Any, booked: Book) -> None:
    booked(
        ada, end_user="=cmd()", tags={"a": ";=1"}, estimated=True, version="v1", cost_nano=10**18
    )
    (row,) = read_parquet(ada, "granularity=call")
    assert row["cost"] == Decimal(10**9)
    assert (row["request_id"], row["estimated"], row["idle_ms"]) == ("req-1", True, None)
    assert row["end_user"] == "=cmd()"  # no spreadsheet reads Parquet
    line = ada.get(f"{PATH}?granularity=call").text.splitlines()[1]
    assert "'=cmd()" in line
    assert ",=" not in line
    assert ";=" not in line
    assert "1000000000.000000000" in line


def read_parquet(account: Any, query: str) -> list[dict[str, Any]]:
    content = account.get(f"{PATH}?format=parquet&{query}").content
    found: list[dict[str, Any]] = parquet.read_table(io.BytesIO(content)).to_pylist()
    return found


@pytest.mark.parametrize("granularity", ["hour", "call"])
def test_nothing_is_a_table_without_rows(ada: Any, granularity: str) -> None:
    assert read(ada, f"granularity={granularity}") == []
    assert ada.get(f"{PATH}?granularity={granularity}").text.startswith(("hour,", "time,"))


def test_users_get_their_own_and_operators_everybodys(
    ada: Any, booked: Book, with_role: Any
) -> None:
    operator = with_role(Role.OPERATOR)
    booked(ada)
    booked(operator, cost_nano=7)
    assert {row["user"] for row in read(ada)} == {ada.id}
    everything = "/api/v1/usage/all/export"
    assert {row["user"] for row in read(operator, "", everything)} == {ada.id, operator.id}
    assert {row["user"] for row in read(operator, f"user={ada.id}", everything)} == {ada.id}


def test_exports_come_to_what_the_ledger_does(
    installation: Any, usage_event: Callable[..., Any]
) -> None:
    chance = random.Random(7)  # noqa: S311  only has to be the same every time
    ada, operator = installation.sign_up(), installation.sign_up("operator@example.org")
    with installation.platform.database.sessions.begin() as session:
        role = update(User).where(User.id == operator.id).values(role=Role.OPERATOR)
        session.execute(role)
    start = datetime(2030, 1, 1, tzinfo=UTC)
    events = []
    for number in range(300):
        time = start + timedelta(seconds=chance.randrange(200_000))
        more = {
            "credential": chance.choice(["key_1", "key_2", "ses_1"]),
            "prompt_tokens": chance.randrange(10_000),
            "completion_tokens": chance.randrange(10_000),
            "tags": chance.choice([{}, {"a": "1", "b": "2"}, {"b": "2", "a": "1"}]),
        }
        moment = time.isoformat().replace("+00:00", "Z")
        events.append(usage_event(ada.id, f"req-{number}", time=moment, **more))
    answer = installation.internal.post("/internal/v1/events", json={"events": events})
    assert answer.json()["accepted"] == 300
    with installation.platform.database.reads() as reading:
        charges = select(func.sum(LedgerEntry.amount_nano)).where(LedgerEntry.kind == "charge")
        charged = int(reading.scalar(charges) or 0)
    assert charged > 0
    for granularity in ("hour", "call"):
        for account, path in ((ada, PATH), (operator, "/api/v1/usage/all/export")):
            rows = read(account, f"granularity={granularity}", path)
            assert sum(row["cost"] for row in rows) * 10**9 == charged
            assert sum(row.get("requests", 1) for row in rows) == 300
    days = [f"from=2030-01-0{day}&to=2030-01-0{day}" for day in (1, 2, 3)]
    assert sum(row["cost"] for day in days for row in read(ada, day)) * 10**9 == charged
    rows = read(ada)
    hours = {(row["hour"], row["key"], *sorted(json.loads(row["tags"]).items())) for row in rows}
    assert len(hours) == len(rows)  # in whatever order tags were sent


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_long_export_needs_no_more_memory(
    platform: Any, ada: Any, format: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_AT_ONCE", 100)
    monkeypatch.setattr(files, "_ROWS_OF_A_GROUP", 100)
    now, count = datetime(2030, 1, 1, tzinfo=UTC), 20_000
    numbers = ("prompt_tokens", "completion_tokens", "duration_ms", "queue_ms", "load_ms")
    usual = {
        "time": now, "user_id": ada.id, "credential": "key_1", "service": "chat", "model": "small",
        "endpoint": "completions", "outcome": "completed", "cold_start_ms": 0, "cost_nano": 1,
        "received_at": now, **dict.fromkeys(numbers, 0),
    }  # fmt: skip
    with platform.database.sessions.begin() as session:
        rows = [{**usual, "request_id": f"req-{number:05}"} for number in range(count)]
        session.execute(insert(UsageEntry), rows)
    del rows
    with platform.database.reads() as reading, (tmp_path / "file").open("wb") as file:
        files.write(file, export.table(reading, Filters(), "call", currency="USD"), format)
        tracemalloc.start()
        files.write(file, export.table(reading, Filters(), "call", currency="USD"), format)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < count * 100  # the rows alone have some 1000 bytes each
