"""`booked` puts calls into the database, as the ledger's booking does."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from dormouse_control.usage.models import UsageEntry
from dormouse_control.wiring import Platform

_USUAL: dict[str, Any] = {
    "time": datetime(2030, 1, 1, 12, 30, tzinfo=UTC),
    "credential": "key_1",
    "service": "chat",
    "model": "small",
    "endpoint": "completions",
    "outcome": "completed",
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "duration_ms": 20,
    "queue_ms": 1,
    "load_ms": 0,
    "cold_start_ms": 0,
    "compute_ms": 100,
    "gpus": 0,
    "cost_nano": 5000,
    "tags": {},
}


@pytest.fixture
def booked(platform: Platform) -> Callable[..., UsageEntry]:
    numbers = itertools.count(1)

    def book(user: Any, **changed: Any) -> UsageEntry:
        columns = {**_USUAL, "request_id": f"req-{next(numbers)}", **changed}
        with platform.database.sessions.begin() as session:
            entry = UsageEntry(user_id=user.id, received_at=columns["time"], **columns)
            session.add(entry)
        return entry

    return book
