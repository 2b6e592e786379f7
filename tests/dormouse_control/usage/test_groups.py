"""Which calls are meant, and what they come to."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from dormouse_control.identity.models import Role

Book = Callable[..., Any]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.fixture
def five(ada: Any, booked: Book) -> Any:
    """An account with five calls."""
    booked(ada, time=at("2030-01-01T12:59:59.999999+00:00"), tags={"project": "a"})
    booked(ada, time=at("2030-01-01T13:00:00+00:00"), tags={"project": "a", "env": "dev"})
    booked(ada, time=at("2030-01-31T23:59:59+00:00"), credential="ses_1", tags={"project": "b"})
    booked(ada, time=at("2030-02-01T00:00:00+00:00"), model="large", credential="ses_2")
    booked(ada, time=at("2030-02-01T01:00:00+02:00"), service="draw", model="painter", tags=None)
    return ada


def found(account: Any, query: str, path: str = "/api/v1/usage") -> set[str]:
    answer = account.get(f"{path}?{query}")
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["totals"]["requests"] == len(page["items"])
    return {item["request_id"].removeprefix("req-") for item in page["items"]}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("key_id=key_1", "125"),
        ("key_id=ses_1", "3"),
        ("key_id=key_2", ""),
        ("service=draw", "5"),
        ("model=small", "123"),
        ("tag=project", "123"),
        ("tag=project:a", "12"),
        ("tag=project:a&tag=env:dev", "2"),
        ("tag=project:", None),
        ("from=2030-01-31", "345"),
        ("to=2030-01-31", "1235"),
        ("from=2030-01-01&to=2030-01-01", "12"),
        ("from=2030-01-01T13:00:00Z&to=2030-01-31T23:00:00Z", "2"),
        ("from=2030-02-01T00:00:00%2B02:00", "345"),
        ("from=2031-01-01&to=2030-01-01", ""),
        ("from=2030-13-01", None),
        ("from=2030-01-01T12:00:00", None),
        ("from=12", None),
        ("to=9999-12-31", None),
        ("tag=PROJECT", None),
        ("tag=a%00", None),
        ("tag=a:%00", None),
        ("model=%00", None),
        ("&".join(["tag=a"] * 17), None),
    ],
)
def test_filters(five: Any, query: str, expected: str | None) -> None:
    if expected is None:
        assert five.get(f"/api/v1/usage?{query}").status_code == 422
        assert five.get(f"/api/v1/usage/totals?{query}").status_code == 422
        assert five.get(f"/api/v1/usage/export?{query}").status_code == 422
    else:
        assert found(five, query) == set(expected)


def grouped(account: Any, query: str, path: str = "/api/v1/usage/totals") -> dict[Any, int]:
    answer = account.get(f"{path}?{query}")
    assert answer.status_code == 200, answer.text
    items = answer.json()["items"]
    return {tuple(item["group"].values()): item["requests"] for item in items}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "group_by=hour",
            {
                ("2030-01-01T12:00:00Z",): 1,
                ("2030-01-01T13:00:00Z",): 1,
                ("2030-01-31T23:00:00Z",): 2,
                ("2030-02-01T00:00:00Z",): 1,
            },
        ),
        ("", {("2030-01-01",): 2, ("2030-01-31",): 2, ("2030-02-01",): 1}),
        ("group_by=month", {("2030-01",): 4, ("2030-02",): 1}),
        ("group_by=key", {("key_1",): 3, (None,): 2}),
        (
            "group_by=service&group_by=model",
            {("chat", "small"): 3, ("chat", "large"): 1, ("draw", "painter"): 1},
        ),
        ("group_by=tag:project", {("a",): 2, ("b",): 1, (None,): 2}),
        ("group_by=tag:cost-center", {(None,): 5}),
        ("group_by=month&model=small&group_by=month", {("2030-01",): 3}),
    ],
)
def test_groups(five: Any, query: str, expected: dict[Any, int]) -> None:
    assert grouped(five, query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "group_by=year",
        "group_by=tag:",
        "group_by=tag:A",
        "group_by=cost_nano",
        "&".join(["group_by=day"] * 5),
    ],
)
def test_there_are_no_other_groups(ada: Any, query: str) -> None:
    assert ada.get(f"/api/v1/usage/totals?{query}").status_code == 422


def test_a_group_has_all_sums(ada: Any, booked: Book) -> None:
    booked(ada, compute_ms=1000, gpus=2, idle_ms=30, load_ms=7, audio_ms=9, images=1)
    booked(ada, compute_ms=500, gpus=1, idle_ms=None, cost_nano=1)
    assert ada.get("/api/v1/usage/totals").json() == {
        "items": [
            {
                "group": {"day": "2030-01-01"},
                "requests": 2,
                "prompt_tokens": 20,
                "completion_tokens": 10,
                "audio_ms": 9,
                "images": 1,
                "compute_ms": 1500,
                "gpu_ms": 2500,
                "load_ms": 7,
                "idle_ms": 30,
                "cost": 0.000005001,
            }
        ],
        "currency": "USD",
        "next": None,
    }


def test_groups_come_in_pages(five: Any) -> None:
    seen, after = [], ""
    while True:
        page = five.get(f"/api/v1/usage/totals?group_by=hour&limit=3{after}").json()
        seen += [item["group"]["hour"] for item in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
        elsewhere = five.get(f"/api/v1/usage/totals?group_by=day{after}")
        assert elsewhere.status_code == 400
    assert len(seen) == len(set(seen)) == 4
    assert seen == sorted(seen)


def test_operators_see_everybody_and_users_themselves(
    five: Any, booked: Book, with_role: Any
) -> None:
    operator = with_role(Role.OPERATOR)
    booked(operator)
    everything = "/api/v1/usage/all"
    assert found(operator, "", everything) == set("123456")
    assert found(operator, f"user={five.id}", everything) == set("12345")
    assert found(operator, "") == {"6"}
    items = operator.get(everything).json()["items"]
    assert {item["user"] for item in items} == {five.id, operator.id}
    by_user = grouped(operator, "group_by=user", f"{everything}/totals")
    assert by_user == {(five.id,): 5, (operator.id,): 1}
    assert grouped(five, "group_by=user") == {(five.id,): 5}
    for path in ("", "/totals", "/export"):
        assert five.get(f"{everything}{path}").status_code == 403
    # `user` of one's own list is no filter, and no way into another's.
    assert found(five, f"user={operator.id}") == set("12345")
