from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

Make = Callable[..., dict[str, Any]]


def _book(internal: TestClient, *events: Any) -> None:
    answer = internal.post("/internal/v1/events", json={"events": list(events)})
    assert answer.json()["accepted"] == len(events)


def test_a_call_shows_what_it_took_and_cost(
    internal: TestClient, ada: Any, usage_event: Make
) -> None:
    _book(internal, usage_event(ada.id, credential="key_1", cold_start_ms=140))

    assert ada.get("/api/v1/usage").json() == {
        "items": [
            {
                "request_id": "req-1",
                "time": "2030-01-01T00:00:00.500000Z",
                "service": "chat",
                "model": "small",
                "endpoint": "chat.completions",
                "outcome": "completed",
                "estimated": False,
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "audio_ms": 0,
                "images": 0,
                "queue_ms": 0,
                "cold_start_ms": 140,
                "duration_ms": 20,
                "load_ms": 0,
                "compute_ms": 0,
                "gpus": 0,
                "idle_ms": None,
                "cost": 0.000005,
                "key_id": "key_1",
                "tags": {},
            }
        ],
        "totals": {"requests": 1, "prompt_tokens": 10, "completion_tokens": 5, "cost": 0.000005},
        "currency": "USD",
        "next": None,
    }


def test_nobody_sees_anothers_usage(
    internal: TestClient, ada: Any, sign_up: Callable[..., Any], usage_event: Make
) -> None:
    _book(internal, usage_event(ada.id))
    empty = sign_up("bob@example.org").get("/api/v1/usage").json()

    assert empty["items"] == []
    assert empty["totals"] == {
        "requests": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost": 0.0,
    }


def test_usage_comes_in_pages_newest_first_with_whole_totals(
    installation: Any, usage_event: Make
) -> None:
    ada = installation.sign_up()
    times = ["03", "01", "02", "02", "02"]
    _book(
        installation.internal,
        *[
            usage_event(ada.id, f"req-{number}", time=f"2030-01-01T00:00:{second}Z")
            for number, second in enumerate(times)
        ],
    )
    seen, after = [], ""
    while True:
        page = ada.get(f"/api/v1/usage?limit=2{after}").json()
        assert page["totals"]["requests"] == 5
        assert page["totals"]["prompt_tokens"] == 50
        seen += [item["request_id"] for item in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"

    assert (seen[0], seen[-1]) == ("req-0", "req-1")
    assert sorted(seen) == [f"req-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("limit=201", 422),
        ("limit=x", 422),
        ("after=x", 400),
        ("after=1.2.3", 400),
        ("after=%00", 422),
        ("after=' OR 1=1", 422),
    ],
)
def test_bad_pages_are_refused(ada: Any, query: str, status: int) -> None:
    answer = ada.get(f"/api/v1/usage?{query}")

    assert answer.status_code == status
    assert answer.json()["error"]["param"] == query.split("=")[0]


def test_usage_needs_credentials(client: TestClient) -> None:
    assert client.get("/api/v1/usage").status_code == 401
