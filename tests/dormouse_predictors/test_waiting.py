"""Users take turns; each one's own calls stay in their order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dormouse.tokens import InternalClaims
from dormouse_predictors.base import GenerateRequest
from dormouse_predictors.jobs import Job
from dormouse_predictors.waiting import Waiting


def job(user: str, name: str = "", priority: int = 1) -> Job:
    claims = InternalClaims(user, "key_1", "chat", "tiny", priority, 0)
    outbox: Any = None
    return Job(name, "completions", claims, GenerateRequest(()), False, outbox)


def filled(users: str) -> Waiting:
    waiting = Waiting()
    for at, user in enumerate(users):
        waiting.add(job(user, f"{user}{at}"))
    return waiting


def taken(waiting: Waiting) -> list[str]:
    return [waiting.take().request_id for _ in range(len(waiting))]


def test_users_take_turns_and_stay_in_their_own_order() -> None:
    assert taken(filled("aaaabbc")) == ["a0", "b4", "c6", "a1", "b5", "a2", "a3"]


def test_the_more_urgent_go_first() -> None:
    waiting = Waiting()
    for name, priority in (("a", 2), ("b", 1), ("c", 0), ("d", 1), ("e", 2), ("f", 0)):
        waiting.add(job(name, name, priority))
    assert waiting.ahead_of_next("new", 0) == 2
    assert waiting.ahead_of_next("new", 2) == 6
    assert taken(waiting) == ["c", "f", "b", "d", "a", "e"]


def test_the_least_urgent_call_of_the_greediest_gives_way() -> None:
    waiting = Waiting()
    for name, priority in (("a", 2), ("a", 0), ("b", 2)):
        waiting.add(job(name, f"{name}{priority}", priority))
    assert waiting.last_of_greediest().request_id == "a2"
    assert waiting.remove(waiting.last_of_greediest())
    assert len(waiting) == 2


def test_who_comes_while_a_call_runs_goes_before_its_users_next() -> None:
    waiting = filled("aaa")
    assert waiting.take().request_id == "a0"
    waiting.add(job("b", "b"))
    assert taken(waiting) == ["b", "a1", "a2"]


def test_a_user_who_comes_again_while_served_waits_for_the_others() -> None:
    waiting = filled("ab")
    waiting.take()
    waiting.add(job("a", "again"))
    waiting.add(job("c", "c"))
    assert taken(waiting) == ["b1", "c", "again"]


def test_what_is_removed_is_not_taken() -> None:
    waiting = Waiting()
    jobs = [job(user, f"{user}{at}") for at, user in enumerate("aabc")]
    for each in jobs:
        waiting.add(each)
    assert waiting.remove(jobs[0])
    assert waiting.remove(jobs[2])
    assert not waiting.remove(jobs[2])
    assert not waiting.remove(job("nobody"))
    assert (len(waiting), waiting.users(), waiting.of("a"), waiting.of("b")) == (2, 2, 1, 0)
    assert taken(waiting) == ["a1", "c3"]
    with pytest.raises(IndexError):
        waiting.take()


def test_the_greediest_gives_the_last() -> None:
    assert filled("abbbcc").last_of_greediest().request_id == "b3"


@given(st.text(alphabet="abcd", max_size=30), st.sampled_from("abcdx"), st.integers(0, 5))
def test_ahead_of_next_is_how_many_are_taken_before_it(users: str, user: str, begun: int) -> None:
    waiting = filled(users)
    for _ in range(min(begun, len(waiting))):
        waiting.take()
    ahead = waiting.ahead_of_next(user, 1)
    waiting.add(job(user, "new"))
    assert taken(waiting).index("new") == ahead


@given(st.lists(st.tuples(st.sampled_from("art"), st.sampled_from("abc")), max_size=60))
def test_nobody_is_lost_and_nobody_waits_for_two_of_another(steps: list[tuple[str, str]]) -> None:
    waiting, inside = Waiting(), list[Job]()
    passed: dict[Job, dict[str, int]] = {}
    for kind, user in steps:
        if kind == "a":
            made = job(user)
            waiting.add(made)
            if waiting.of(user) == 1:
                passed[made] = {}
            inside.append(made)
        elif kind == "r" and inside:
            gone = inside.pop(0)
            assert waiting.remove(gone)
            passed.pop(gone, None)
        elif kind == "t" and inside:
            found = waiting.take()
            inside.remove(found)
            passed.pop(found, None)
            for first, others in passed.items():
                other = found.claims.user
                if other != first.claims.user:
                    others[other] = others.get(other, 0) + 1
                    assert others[other] <= 1
        assert len(waiting) == len(inside)
