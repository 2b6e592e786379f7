"""P1: usage events that are safe on disk each second, against one SQLAlchemy commit for each."""

import dataclasses
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any  # CloudEvents are JSON

import httpx
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from dormouse.events import UsageEvent, to_cloudevent
from dormouse.spool import SpoolWriter
from dormouse_control.db import connect
from suite import catalogue
from suite.results import Results
from suite.rounds import spread

BATCH = 500


class _Base(DeclarativeBase):
    pass


class _Row(_Base):
    """What the plain way keeps of a call."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(String(128), unique=True)
    user: Mapped[str]
    credential: Mapped[str]
    model: Mapped[str]
    time: Mapped[str]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]


def durable(
    results: Results, folder: Path, internal: Path, user: str, *, rounds: int, commits: int
) -> None:
    """`internal` is the socket of a control plane, where `user` has an account."""
    ratios, booked = [], []
    for number in range(rounds):
        one_each = _commits(folder / f"commits{number}.db", _events(user, commits))
        spooled = _spooled(folder / f"spool{number}", _events(user, 20 * commits))
        ratios.append(spooled / one_each)
        booked.append(_booked(internal, _events(user, 5 * commits)) / one_each)
        results.note("P1: events a second: commit each, spooled", [round(one_each), round(spooled)])
    results.put("P1", spread(ratios))
    results.note("P1: booked by the control plane / one commit each", str(spread(booked)))


def _events(user: str, count: int) -> list[UsageEvent]:
    event = UsageEvent(
        request_id="",
        time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        user=user,
        credential="key_bench",
        service=catalogue.SERVICE,
        model="model-000",
        endpoint="chat.completions",
        outcome="completed",
        prompt_tokens=12,
        completion_tokens=34,
        duration_ms=56,
    )
    return [dataclasses.replace(event, request_id=str(uuid.uuid4())) for _ in range(count)]


def _commits(path: Path, events: Sequence[UsageEvent]) -> float:
    """With the settings of our own database: every commit synced."""
    database = connect(f"sqlite:///{path}")
    _Base.metadata.create_all(database.engine)
    began = time.perf_counter()
    for event in events:
        with database.sessions.begin() as session:
            session.add(
                _Row(
                    request_id=event.request_id,
                    user=event.user,
                    credential=event.credential,
                    model=event.model,
                    time=event.time,
                    prompt_tokens=event.prompt_tokens,
                    completion_tokens=event.completion_tokens,
                )
            )
    taken = time.perf_counter() - began
    database.engine.dispose()
    return len(events) / taken


def _spooled(folder: Path, events: Sequence[UsageEvent]) -> float:
    """As a predictor does it: in the file when the call ends, synced before it is sent on."""
    writer = SpoolWriter(folder)
    began = time.perf_counter()
    for event in events:
        writer.append(event)
    synced: list[float] = []
    writer.forward(lambda _: synced.append(time.perf_counter()))
    writer.close()
    # The first batch is sent on once all is synced.
    return len(events) / (synced[0] - began)


def _booked(internal: Path, events: Sequence[UsageEvent]) -> float:
    """All the way into the database of a control plane, with every check and price."""
    documents: list[dict[str, Any]] = [to_cloudevent(event) for event in events]
    transport = httpx.HTTPTransport(uds=str(internal))
    with httpx.Client(transport=transport, base_url="http://internal", timeout=60) as client:
        began = time.perf_counter()
        for first in range(0, len(documents), BATCH):
            batch = documents[first : first + BATCH]
            answer = client.post("/internal/v1/events", json={"events": batch})
            answer.raise_for_status()
            if answer.json()["accepted"] != len(batch):
                raise RuntimeError(f"not all were booked: {answer.text[:300]}")
        return len(events) / (time.perf_counter() - began)
