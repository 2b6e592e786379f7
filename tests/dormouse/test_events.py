from dataclasses import replace
from typing import Any

import pytest

from dormouse.events import EventError, UsageEvent, from_cloudevent, to_cloudevent

EVENT = UsageEvent(
    request_id="req_1",
    time="2027-01-15T08:00:00.123456Z",
    user="usr_1",
    credential="key_1",
    service="chat",
    model="dormouse-chat",
    endpoint="chat.completions",
    outcome="completed",
    prompt_tokens=3,
    completion_tokens=5,
    duration_ms=70,
    cold_start_ms=120,
)


def test_an_event_on_the_wire_is_a_cloudevent() -> None:
    assert to_cloudevent(EVENT) == {
        "specversion": "1.0",
        "type": "dev.dormouse.usage.v1",
        "source": "/services/chat",
        "id": "req_1",
        "time": "2027-01-15T08:00:00.123456Z",
        "subject": "usr_1",
        "datacontenttype": "application/json",
        "data": {
            "credential": "key_1",
            "model": "dormouse-chat",
            "endpoint": "chat.completions",
            "outcome": "completed",
            "prompt_tokens": 3,
            "completion_tokens": 5,
            "duration_ms": 70,
            "queue_ms": 0,
            "load_ms": 0,
            "cold_start_ms": 120,
            "version": None,
            "end_user": None,
            "compute_ms": 0,
            "gpus": 0,
            "audio_ms": 0,
            "images": 0,
            "lease": None,
            "predictor": None,
            "estimated": False,
            "tags": {},
        },
    }


@pytest.mark.parametrize(
    "event",
    [
        EVENT,
        replace(EVENT, version="ver_1", end_user="Zoë 🐭", outcome="cancelled"),
        replace(EVENT, time="2027-01-15T09:00:00+01:00"),
        replace(EVENT, compute_ms=60, gpus=2, audio_ms=1500, images=1, estimated=True),
        replace(EVENT, lease="lse_1", predictor="00" * 16, tags={"team": "Zoë", "a-b": "1"}),
    ],
)
def test_an_event_survives_the_wire(event: UsageEvent) -> None:
    assert from_cloudevent(to_cloudevent(event)) == event


def test_later_attributes_of_the_envelope_are_no_error() -> None:
    document = to_cloudevent(EVENT) | {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-01"}
    assert from_cloudevent(document) == EVENT


@pytest.mark.parametrize("document", [None, 1, "event", [], {}, {"specversion": "1.0"}])
def test_something_else_is_no_event(document: Any) -> None:
    with pytest.raises(EventError):
        from_cloudevent(document)


@pytest.mark.parametrize(
    "changes",
    [
        {"specversion": "0.3"},
        {"type": "dev.dormouse.usage.v2"},
        {"source": "chat"},
        {"source": "/services/"},
        {"source": "/versions/chat"},
        {"source": None},
        {"source": ["/services/chat"]},
        {"id": ""},
        {"id": 7},
        {"subject": None},
        {"subject": "usr\0"},
        {"time": "yesterday"},
        {"time": "2027-01-15T08:00:00"},
        {"data": None},
        {"data": []},
    ],
    ids=repr,
)
def test_a_wrong_envelope_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EventError):
        from_cloudevent(to_cloudevent(EVENT) | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_tokens": -1},
        {"prompt_tokens": 1.0},
        {"prompt_tokens": True},
        {"prompt_tokens": "3"},
        {"prompt_tokens": 2**53},
        {"duration_ms": float("nan")},
        {"outcome": "done"},
        {"outcome": ["completed"]},
        {"model": "\ud800"},
        {"credential": {}},
        {"version": 3},
        {"request_id": "req_2"},
        {"colour": "red"},
        {"gpus": -1},
        {"images": 1.5},
        {"compute_ms": None},
        {"lease": 7},
        {"predictor": "a\0"},
        {"estimated": 1},
    ],
    ids=ascii,
)
def test_wrong_data_is_refused(changes: dict[str, Any]) -> None:
    document = to_cloudevent(EVENT)
    document["data"] |= changes
    with pytest.raises(EventError):
        from_cloudevent(document)


@pytest.mark.parametrize("name", ["model", "credential", "outcome", "prompt_tokens", "duration_ms"])
def test_missing_data_is_refused(name: str) -> None:
    document = to_cloudevent(EVENT)
    del document["data"][name]
    with pytest.raises(EventError, match=name):
        from_cloudevent(document)


@pytest.mark.parametrize(
    "changed",
    [
        {"end_user": {"a": 1}},
        {"end_user": "\ud800"},
        {"tags": None},
        {"tags": ["a"]},
        {"tags": {"Team": "a"}},
        {"tags": {"-team": "a"}},
        {"tags": {"team": ""}},
        {"tags": {"team": "a" * 65}},
        {"tags": {"team": "line\nline"}},
        {"tags": {f"t{number}": "a" for number in range(17)}},
        {"end_user": "a\0b"},
    ],
)
def test_what_nothing_is_counted_by_keeps_no_call_from_being_charged(changed):
    document = to_cloudevent(EVENT)
    document["data"] |= changed
    event = from_cloudevent(document)
    assert event.completion_tokens == EVENT.completion_tokens
    assert getattr(event, next(iter(changed))) in (None, {})
