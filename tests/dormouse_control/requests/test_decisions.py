"""What an attempt means, and whose turn is next: tables."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dormouse_control.requests.claims import Candidate, Result
from dormouse_control.requests.decisions import (
    Again,
    Answered,
    Broken,
    choose,
    decide,
    does_not_fit,
    ended_its_predictor,
    no_space,
)
from dormouse_control.requests.models import RequestStatus

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATE = NOW + timedelta(hours=1)
ERROR = {"message": "m", "type": "t", "param": None, "code": "c"}
BODY = json.dumps({"error": ERROR}).encode()


def _decide(outcome: Answered | Broken, attempt: int = 1, deadline: datetime = LATE) -> object:
    return decide(outcome, attempt=attempt, now=NOW, deadline=deadline)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answered(200, b"{}"), Result(RequestStatus.COMPLETED, 200, b"{}")),
        (Answered(200, b"{}", 5), Result(RequestStatus.COMPLETED, 200, b"{}")),
        (Answered(400, BODY), Result(RequestStatus.FAILED, 400, BODY, ERROR)),
        (Answered(401, BODY, 5), Result(RequestStatus.FAILED, 401, BODY, ERROR)),
        (Answered(402, BODY), Result(RequestStatus.FAILED, 402, BODY, ERROR)),
        (Answered(429, BODY), Result(RequestStatus.FAILED, 429, BODY, ERROR)),
        (Answered(503, BODY), Result(RequestStatus.FAILED, 503, BODY, ERROR)),
        (Answered(504, BODY, 1), Result(RequestStatus.FAILED, 504, BODY, ERROR)),
        (Answered(429, BODY, 7), Again(NOW + timedelta(seconds=7), ERROR)),
        (Answered(503, BODY, 0), Again(NOW + timedelta(seconds=1), ERROR)),
        (Answered(503, BODY, 3600), Result(RequestStatus.EXPIRED, refusal=ERROR)),
    ],
)
def test_what_an_answer_means(answer: Answered, expected: object) -> None:
    assert _decide(answer) == expected


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"error": 1}', b'{"error": {"code": 1}}'])
def test_an_error_without_the_usual_shape_is_one_all_the_same(body: bytes) -> None:
    found = _decide(Answered(500, body))
    assert isinstance(found, Result)
    assert (found.status, found.body) == (RequestStatus.FAILED, body)
    assert found.refusal is not None
    assert found.refusal["code"] == "bad_gateway"


@pytest.mark.parametrize(("status", "expected"), [(429, [1, 1, 1]), (503, [1, 8, 30])])
def test_a_limit_is_asked_again_when_it_says_and_what_is_missing_ever_more_slowly(
    status: int, expected: list[float]
) -> None:
    waits = []
    for attempt in (1, 4, 20):
        found = _decide(Answered(status, BODY, 1), attempt)
        assert isinstance(found, Again)
        waits.append((found.until - NOW).total_seconds())
    assert waits == expected


def test_what_broke_off_is_tried_again_ever_more_slowly() -> None:
    waits = []
    for attempt in (1, 2, 3, 4, 5, 6, 50):
        found = _decide(Broken("ReadError"), attempt)
        assert isinstance(found, Again)
        waits.append((found.until - NOW).total_seconds())
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    expired = _decide(Broken("ReadError"), deadline=NOW + timedelta(seconds=1))
    assert isinstance(expired, Result)
    assert expired.status is RequestStatus.EXPIRED


def test_an_answer_that_is_too_long_is_not_kept() -> None:
    found = _decide(Answered(200, None))
    assert isinstance(found, Result)
    assert (found.status, found.status_code, found.body) == (RequestStatus.FAILED, 200, None)


def _candidates(users: str) -> list[Candidate]:
    return [Candidate(f"req_{number:03}", user) for number, user in enumerate(users)]


def test_users_take_turns() -> None:
    chosen = choose(_candidates("aaaabbc"), {"c": 1}, free=5, most=12)
    assert [(each.user_id, each.id[-1]) for each in chosen] == [
        ("a", "0"),
        ("b", "4"),
        ("a", "1"),
        ("b", "5"),
        ("c", "6"),
    ]


def _died(code: str) -> bytes:
    return json.dumps({"error": {**ERROR, "code": code}}).encode()


@pytest.mark.parametrize(
    ("outcome", "died"),
    [
        (Answered(503, _died("predictor_died"), 1), True),
        (Answered(503, _died("unavailable"), 1), False),
        (Answered(200, b'{"code": "predictor_died"}'), False),
        (Broken("ReadError", begun=True), True),
        (Broken("ReadError"), False),  # the gateway's end it may have been
    ],
)
def test_r42_who_ended_the_predictor(outcome: Answered | Broken, died: bool) -> None:
    assert ended_its_predictor(outcome) is died


def test_r42_those_that_two_processes_did_not_survive_run_one_at_a_time() -> None:
    """Else the one that ends them all would take its neighbours with it once more."""
    waiting = [
        Candidate("1", "a", "chat", 2),
        Candidate("2", "b", "chat", 2),
        Candidate("3", "b", "chat", 1),
        Candidate("4", "c", "embeddings", 2),
        Candidate("5", "c", "chat", 0),
    ]
    chosen = choose(waiting, {}, free=9, most=9)
    assert {each.id for each in chosen} == {"1", "3", "4", "5"}
    chosen = choose(waiting, {}, free=9, most=9, suspected={"chat"})
    assert {each.id for each in chosen} == {"3", "4", "5"}


@given(
    users=some.text(alphabet="abcd", max_size=40),
    running=some.dictionaries(some.sampled_from("abcd"), some.integers(0, 6)),
    free=some.integers(0, 20),
    most=some.integers(1, 6),
)
def test_nobody_gets_more_than_their_share(
    users: str, running: dict[str, int], free: int, most: int
) -> None:
    waiting = _candidates(users)
    chosen = choose(waiting, running, free=free, most=most)

    assert len(chosen) == len(set(chosen)) <= free
    counts = Counter(running) + Counter(each.user_id for each in chosen)
    for user in set(users):
        own = [each for each in waiting if each.user_id == user]
        got = [each for each in chosen if each.user_id == user]
        assert got == own[: len(got)]
        if got:
            assert counts[user] <= most
        if len(chosen) < free:
            assert len(got) == len(own) or counts[user] >= most


@pytest.mark.parametrize(
    ("instead", "code"), [(does_not_fit, "answer_too_large"), (no_space, "insufficient_storage")]
)
def test_an_answer_that_is_not_kept_leaves_what_it_meant(
    instead: Callable[[Result], Result], code: str
) -> None:
    found = instead(Result(RequestStatus.COMPLETED, 200, b"{}"))
    assert (found.status, found.status_code, found.body) == (RequestStatus.FAILED, 200, None)
    assert found.refusal is not None
    assert found.refusal["code"] == code
    failed = instead(Result(RequestStatus.FAILED, 400, b"{}", ERROR))
    assert (failed.status_code, failed.body, failed.refusal) == (400, None, ERROR)
