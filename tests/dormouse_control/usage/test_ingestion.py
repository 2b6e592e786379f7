"""Booking usage events."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from dormouse.catalog import Catalog
from dormouse_control.ledger import verification
from dormouse_control.usage import ingestion
from dormouse_control.usage.models import RejectedEvent, UsageEntry
from dormouse_control.wiring import Platform

Make = Callable[..., dict[str, Any]]


def _send(internal: TestClient, *events: Any) -> Any:
    return internal.post("/internal/v1/events", json={"events": list(events)})


def _entries(platform: Platform) -> list[UsageEntry]:
    with platform.database.reads() as reading:
        return list(reading.scalars(select(UsageEntry).order_by(UsageEntry.request_id)))


def test_an_event_is_booked_with_its_cost(
    internal: TestClient, ada: Any, platform: Platform, usage_event: Make
) -> None:
    event = usage_event(ada.id, cold_start_ms=140, end_user="u-1", version="ver_1")

    answer = _send(internal, event)

    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": []}
    (entry,) = _entries(platform)
    assert (entry.user_id, entry.service, entry.model, entry.version) == (
        ada.id,
        "chat",
        "small",
        "ver_1",
    )
    assert entry.time == datetime(2030, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    # 10 * 0.0002 / 1000 + 5 * 0.0006 / 1000 = 0.000005
    assert entry.cost_nano == 5000
    assert (entry.cold_start_ms, entry.end_user) == (140, "u-1")


def test_the_same_batch_again_books_nothing(
    internal: TestClient, ada: Any, platform: Platform, usage_event: Make
) -> None:
    batch = [usage_event(ada.id, f"req-{number}") for number in range(3)]
    _send(internal, *batch)

    again = _send(internal, *batch, usage_event(ada.id, "req-9"))

    assert again.json() == {"accepted": 1, "duplicates": 3, "rejected": []}
    assert len(_entries(platform)) == 4


def test_a_repeated_event_in_one_batch_is_booked_once(
    internal: TestClient, ada: Any, usage_event: Make
) -> None:
    event = usage_event(ada.id)

    assert _send(internal, event, event).json() == {"accepted": 1, "duplicates": 1, "rejected": []}


def test_batches_sent_at_once_in_any_order_are_booked_once(
    installation: Any, at_once: Callable[..., list[Any]], usage_event: Make
) -> None:
    ada = installation.sign_up()
    batch = [usage_event(ada.id, f"req-{number}") for number in range(200)]
    orders = [batch, batch[::-1], batch[100:] + batch[:100], batch[::2] + batch[1::2]] * 2

    answers = at_once(8, lambda: _send(installation.internal, *orders.pop()))

    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.json()["accepted"] for answer in answers) == 200
    assert sum(answer.json()["duplicates"] for answer in answers) == 7 * 200
    assert len(_entries(installation.platform)) == 200


def test_rows_are_written_in_one_order(
    internal: TestClient, ada: Any, platform: Platform, usage_event: Make
) -> None:
    """So that two batches with the same events cannot each wait for the other for ever."""
    _send(internal, *[usage_event(ada.id, id) for id in ("c", "a", "b")])

    by_request_id = [entry.id for entry in _entries(platform)]
    assert by_request_id == sorted(by_request_id)


def test_a_service_that_left_the_catalogue_is_charged_by_its_last_prices(
    internal: TestClient, ada: Any, platform: Platform, usage_event: Make
) -> None:
    """A predictor may report what it did after the services were changed."""
    _send(internal, usage_event(ada.id, "req-before"))
    rest = {id: found for id, found in platform.catalog.services.items() if id != "chat"}
    late = [usage_event(ada.id, "req-late"), usage_event(ada.id, "req-never", service="never")]

    with platform.database.sessions.begin() as session:
        booked = ingestion.book(session, late, catalog=Catalog(rest), now=platform.clock())

    assert [(found.id, found.reason) for found in booked.rejected] == [
        ("req-never", "service is unknown")
    ]
    before, after = _entries(platform)
    assert (after.cost_nano, after.prices_id) == (before.cost_nano, before.prices_id)
    with platform.database.reads() as reading:
        assert verification.verify(reading).count == 0


BAD: list[tuple[dict[str, Any], str]] = [
    ({"user": "usr_nobody"}, "user is unknown"),
    ({"service": "nope"}, "service is unknown"),
    ({"time": "yesterday"}, "time is not"),
    ({"time": "2030-01-01T00:00:00"}, "time is not"),
    ({"model": "x" * 129}, "model has more than"),
    ({"model": "nul\x00"}, "model is not"),
    ({"model": "\ud800"}, "model is not"),
    ({"version": 7}, "version is not"),
    ({"credential": "key_" + "x" * 27}, "credential has more than"),
    ({"time": "0001-01-01T00:00:00+23:00"}, "time is out of range"),
    ({"prompt_tokens": -1}, "prompt_tokens is not"),
    ({"prompt_tokens": 1.5}, "prompt_tokens is not"),
    ({"prompt_tokens": True}, "prompt_tokens is not"),
    ({"prompt_tokens": 2**53}, "prompt_tokens is not"),
    ({"outcome": "great"}, "outcome is none of"),
    ({"extra": 1}, "incomplete event"),
]


@pytest.mark.parametrize(("change", "reason"), BAD, ids=[str(found[1]) for found in BAD])
def test_an_unreadable_event_is_kept_and_the_others_are_booked(
    internal: TestClient,
    ada: Any,
    platform: Platform,
    usage_event: Make,
    change: dict[str, Any],
    reason: str,
) -> None:
    bad = usage_event(ada.id, "req-bad")
    if "extra" in change:
        bad["data"] |= change
    else:
        bad = usage_event(**{"user": ada.id, "request_id": "req-bad"} | change)
    body = json.dumps({"events": [usage_event(ada.id), bad]})

    answers = [
        internal.post(
            "/internal/v1/events", content=body, headers={"content-type": "application/json"}
        ).json()
        for _ in range(2)
    ]

    assert answers[0]["accepted"] == 1
    (rejected,) = answers[0]["rejected"]
    assert rejected["id"] == "req-bad"
    assert reason in rejected["reason"]
    with platform.database.reads() as reading:
        kept = reading.scalars(select(RejectedEvent)).one()  # once, though sent twice
    assert json.loads(kept.document) == bad


@pytest.mark.parametrize("document", [None, 7, "x", [], {}, {"id": 7}, {"specversion": "1.0"}])
def test_what_is_no_event_at_all_is_kept_too(
    internal: TestClient, platform: Platform, document: object
) -> None:
    answer = _send(internal, document)

    assert answer.status_code == 200
    assert answer.json()["rejected"][0]["id"] is None
    with platform.database.reads() as reading:
        assert json.loads(reading.scalars(select(RejectedEvent)).one().document) == document


def test_unreadable_events_are_kept_on_every_database(installation: Any, usage_event: Make) -> None:
    ada = installation.sign_up()
    bad = [usage_event(ada.id, "a", model="nul\x00"), usage_event("usr_\x00", "b"), {"id": "\x00"}]

    answer = _send(installation.internal, *bad, usage_event(ada.id, end_user="x" * 1000))

    assert answer.status_code == 200
    assert (answer.json()["accepted"], len(answer.json()["rejected"])) == (1, 3)


def test_a_batch_may_have_a_thousand_events(
    internal: TestClient, ada: Any, usage_event: Make
) -> None:
    batch = [usage_event(ada.id, f"req-{number}") for number in range(1001)]

    assert _send(internal, *batch).status_code == 413
    assert _send(internal, *batch[:1000]).json()["accepted"] == 1000


def test_a_cost_that_no_database_can_hold_is_rejected(
    internal: TestClient, ada: Any, platform: Platform, usage_event: Make
) -> None:
    prices = platform.catalog.services["chat"].spec.prices
    dear = prices.model_copy(update={"per_1000_prompt_tokens": Decimal(10**8)})
    object.__setattr__(platform.catalog.services["chat"].spec, "prices", dear)
    try:
        answer = _send(internal, usage_event(ada.id, prompt_tokens=2**52))
    finally:
        object.__setattr__(platform.catalog.services["chat"].spec, "prices", prices)

    assert "cost is too large" in answer.json()["rejected"][0]["reason"]


def test_a_call_with_a_key_is_its_last_use(
    internal: TestClient, ada: Any, usage_event: Make, clock: Any
) -> None:
    key = ada.key()["id"]
    clock.advance(minutes=9)
    _send(internal, usage_event(ada.id, credential=key, time="2030-01-01T00:05:00Z"))
    assert ada.get("/api/v1/keys").json()["items"][0]["last_used_at"] == "2030-01-01T00:05:00Z"

    future = usage_event(ada.id, "req-2", credential=key, time="2039-01-01T00:00:00Z")
    _send(internal, future)
    assert ada.get("/api/v1/keys").json()["items"][0]["last_used_at"] == "2030-01-01T00:09:00Z"


@pytest.mark.parametrize("odd", ["\ud800", "\0"], ids=["half of a pair", "NUL"])
def test_an_event_with_odd_names_is_kept_and_holds_up_no_other(
    internal: TestClient, ada: Any, platform: Platform, usage_event: Make, odd: str
) -> None:
    wrong = usage_event(ada.id, "req-1")
    wrong["data"][odd] = 1
    body = json.dumps({"events": [wrong, usage_event(ada.id, "req-2")]})

    answer = internal.post(
        "/internal/v1/events", content=body, headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
    assert [entry.request_id for entry in _entries(platform)] == ["req-2"]
