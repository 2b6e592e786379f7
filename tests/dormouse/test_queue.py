"""The order of calls that wait, against Algorithm 1 written down again, and a slow model."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dormouse.queue import Class, Entry, Queue, QueueFull, class_of

NOBODY: frozenset[str] = frozenset()


def entry(
    name: str, priority: int = 1, model: str = "A", *, user: str = "ada", at: float = 0.0
) -> Entry[None]:
    return Entry(name, user, model, priority, at, None)


def filled(*entries: Entry[None], bound: int = 1000, **options: Any) -> Queue[None]:
    queue: Queue[None] = Queue(bound, **options)
    for each in entries:
        queue.add(each)
    return queue


def names(entries: list[Entry[None]]) -> str:
    return " ".join(each.request_id for each in entries)


def drained(queue: Queue[None], loaded: Any = NOBODY, now: float = 0.0) -> list[Entry[None]]:
    return [queue.take(loaded, now) for _ in range(len(queue))]


def algorithm_1(entries: list[Entry[None]], loaded: str) -> list[Entry[None]]:
    """As the requirements have it (QUE-05), one pass over the queue."""
    level_0, level_1_loaded, level_1_other, level_2 = ([] for _ in range(4))  # type: ignore[var-annotated]
    for each in entries:
        if each.priority == 0:
            level_0.append(each)
        elif each.priority == 1 and each.model == loaded:
            level_1_loaded.append(each)
        elif each.priority == 1:
            level_1_other.append(each)
        elif each.priority == 2:
            level_2.append(each)
    return level_0 + level_1_loaded + level_1_other + level_2


ENTRIES = st.lists(st.tuples(st.sampled_from((0, 1, 2)), st.sampled_from("ABC")), max_size=30).map(
    lambda found: [entry(str(at), *each) for at, each in enumerate(found)]
)


# ---- Algorithm 1 ---------------------------------------------------------------------------------


def test_the_check_value() -> None:
    arrivals = [("a", 2, "A"), ("b", 1, "A"), ("c", 0, "A"), ("d", 1, "B"), ("e", 2, "B")]
    queue = filled(*(entry(*each) for each in [*arrivals, ("f", 0, "B")]))
    assert names(queue.order({"B"}, 0)) == "c f d b a e"
    assert names(drained(queue, {"B"})) == "c f d b a e"


@given(ENTRIES, st.sampled_from("ABCD"))
def test_one_users_calls_are_in_the_order_of_algorithm_1(
    entries: list[Entry[None]], loaded: str
) -> None:
    queue = filled(*entries)
    assert queue.order({loaded}, 0) == algorithm_1(entries, loaded)
    assert drained(queue, {loaded}) == algorithm_1(entries, loaded)


@given(ENTRIES, st.sampled_from("ABCD"))
def test_so_are_calls_of_as_many_users(entries: list[Entry[None]], loaded: str) -> None:
    theirs = [Entry(e.request_id, e.request_id, e.model, e.priority, 0, None) for e in entries]
    assert drained(filled(*theirs), {loaded}) == algorithm_1(theirs, loaded)


def test_the_order_follows_what_is_loaded() -> None:
    queue = filled(entry("a", 1, "A"), entry("b", 1, "B"))
    assert [names(queue.order({each}, 0)) for each in "AB"] == ["a b", "b a"]
    assert names(queue.order(NOBODY, 0)) == names(queue.order({"A", "B"}, 0)) == "a b"


@pytest.mark.parametrize("priority", [3, -1, 1.5])
def test_a_priority_that_is_none_is_refused_and_not_lost(priority: Any) -> None:
    with pytest.raises(ValueError, match="priority is"):
        entry("a", priority)


# ---- Ageing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("priority", "waited", "expected"),
    [
        (2, 9.9, Class.LATER),
        (2, 10, Class.NORMAL),
        (2, 20, Class.URGENT),
        (2, 1e6, Class.URGENT),
        (1, 9.9, Class.NORMAL),
        (1, 10, Class.URGENT),
        (0, 1e6, Class.URGENT),
        (2, -5, Class.LATER),  # a clock that was asked in another order
    ],
)
def test_who_waits_becomes_more_urgent(priority: int, waited: float, expected: Class) -> None:
    assert class_of(entry("a", priority), NOBODY, waited, 10) is expected


def test_an_aged_call_has_the_advantage_of_a_loaded_model_too() -> None:
    assert class_of(entry("a", 2), {"A"}, 10, 10) is Class.LOADED


def test_without_ageing_a_stream_of_urgent_calls_starves_others_and_with_it_not() -> None:
    for ageing, expected in ((math.inf, None), (5.0, 10)):
        queue: Queue[None] = Queue(1000, ageing_seconds=ageing)
        queue.add(entry("patient", 2))
        ran = None
        for second in range(100):
            queue.add(entry(str(second), 0, at=second))
            if queue.take(NOBODY, second).request_id == "patient":
                ran = second
        assert ran == expected


# ---- Turns ---------------------------------------------------------------------------------------


def of(users: str) -> Queue[None]:
    return filled(*(entry(f"{user}{at}", user=user) for at, user in enumerate(users)))


def test_users_take_turns_and_stay_in_their_own_order() -> None:
    assert names(drained(of("aaaabbc"))) == "a0 b4 c6 a1 b5 a2 a3"


def test_who_comes_while_a_call_runs_goes_before_its_users_next() -> None:
    queue = of("aaa")
    queue.take(NOBODY, 0)
    queue.add(entry("b", user="b"))
    assert names(drained(queue)) == "b a1 a2"


def test_a_user_who_comes_again_while_served_waits_for_the_others() -> None:
    queue = of("ab")
    queue.take(NOBODY, 0)
    queue.add(entry("again", user="a"))
    queue.add(entry("c", user="c"))
    assert names(drained(queue)) == "b1 c again"


def test_a_turn_in_one_class_is_a_turn_in_all() -> None:
    queue = filled(
        entry("a0", 0, user="a"),
        entry("a1", user="a"),
        entry("b1", user="b"),
        entry("b2", user="b"),
    )
    assert names(drained(queue)) == "a0 b1 a1 b2"


@pytest.mark.parametrize("parked", [1, 2])
def test_a_call_that_waits_in_another_class_gives_no_turn_in_this_one(parked: int) -> None:
    """QUE-02: first come, first served inside a class, whoever's calls they are."""
    queue = filled(
        entry("x parks", parked, user="x"),
        entry("y", 0, user="y", at=1),
        entry("x", 0, user="x", at=2),
        entry("z", parked, user="z", at=3),
    )
    expected = ["y", "x", "z", "x parks"]  # x has had a turn
    assert [each.request_id for each in queue.order(NOBODY, 3)] == expected
    assert [each.request_id for each in drained(queue, NOBODY, 3)] == expected


@given(st.lists(st.tuples(st.sampled_from("uvwx"), st.sampled_from((0, 1, 2))), max_size=12))
def test_first_calls_of_users_in_a_class_are_in_the_order_of_arrival(
    calls: list[tuple[str, int]],
) -> None:
    entries = [entry(str(at), priority, user=user) for at, (user, priority) in enumerate(calls)]
    most_urgent = [each for each in entries if each.priority == min(e.priority for e in entries)]
    firsts = {each.user: each for each in reversed(most_urgent)}
    expected = [each for each in most_urgent if each is firsts[each.user]]
    assert filled(*entries).order(NOBODY, 0)[: len(expected)] == expected


# ---- Bounds and hanging up -----------------------------------------------------------------------


def test_a_full_queue_refuses() -> None:
    queue = filled(entry("a"), entry("b"), bound=2)
    with pytest.raises(QueueFull):
        queue.add(entry("c"))
    queue.add(entry("c"), spare=1)
    assert names(list(queue)) == "a b c"


def test_who_has_most_gives_way_with_the_least_urgent_and_youngest() -> None:
    mine = [entry("a2", 2, user="a"), entry("a1", 1, user="a"), entry("later", 2, user="a")]
    queue = filled(*mine, bound=3)
    gone = queue.add(entry("b", user="b"))
    assert gone is not None
    assert gone.request_id == "later"
    with pytest.raises(QueueFull):
        queue.add(entry("another of b", user="b"))


def test_nobody_gives_way_to_who_would_have_as_many() -> None:
    queue = of("aab")
    queue._bound = 3
    with pytest.raises(QueueFull):
        queue.add(entry("b", user="b"))


def test_the_same_call_twice_is_a_mistake() -> None:
    queue = of("a")
    with pytest.raises(ValueError, match="a0 waits already"):
        queue.add(entry("a0"))


def test_what_is_removed_is_not_taken() -> None:
    queue = of("aabc")
    assert queue.remove("a0")
    assert queue.remove("b2")
    assert not queue.remove("b2")
    assert (len(queue), queue.users(), queue.of("a"), queue.of("b")) == (2, 2, 1, 0)
    assert names(drained(queue)) == "a1 c3"
    with pytest.raises(IndexError):
        queue.take(NOBODY, 0)


def test_clearing_tells_who_waited() -> None:
    queue = of("ab")
    assert names(queue.clear()) == "a0 b1"
    assert (len(queue), queue.users()) == (0, 0)


# ---- A model -------------------------------------------------------------------------------------


class Slow:
    """The same rules, from the whole story every time: who was served when, and who came when."""

    def __init__(self, ageing: float) -> None:
        self.ageing, self.waiting, self.stamps, self.clock = ageing, list[Entry[None]](), {}, 0  # type: ignore[var-annotated]
        self.came: dict[str, int] = {}
        self.served: str | None = None

    def add(self, new: Entry[None]) -> None:
        self.clock += 1
        self.came[new.request_id] = self.clock
        self.waiting.append(new)

    def remove(self, name: str) -> None:
        self.waiting = [each for each in self.waiting if each.request_id != name]

    def take(self, loaded: str, now: float) -> Entry[None]:
        def rank(each: Entry[None]) -> tuple[int, bool, int, int]:
            level = max(0, each.priority - math.floor((now - each.arrived) / self.ageing))
            place = {0: 0, 1: 1 if each.model == loaded else 2, 2: 3}[level]
            mine = each.user == self.served
            since = max(self.came[each.request_id], self.stamps.get(each.user, 0))
            return (place, mine, since, self.waiting.index(each))

        found = min(self.waiting, key=rank)
        if self.served is not None:
            self.clock += 1
            self.stamps[self.served] = self.clock
        self.served = found.user
        self.waiting.remove(found)
        return found


@pytest.mark.parametrize("seed", range(20))
def test_thousands_of_arrivals_are_served_as_by_a_slow_model(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    queue, slow = Queue[None](40, ageing_seconds=30), Slow(30)
    for step in range(1500):
        now = step * 1.0
        loaded = chance.choice("ABC")
        if chance.random() < 0.5 and len(queue) < 40:
            new = Entry(str(step), chance.choice("uvwx"), chance.choice("ABC"),
                        chance.randrange(3), now, None)  # fmt: skip
            place = queue.ahead_of_next(new, {loaded}, now)
            assert queue.add(new) is None
            slow.add(new)
            assert queue.ahead_of(new.request_id, {loaded}, now) == place
        elif chance.random() < 0.2 and len(queue):
            gone = chance.choice(list(queue)).request_id
            assert queue.remove(gone)
            slow.remove(gone)
        elif len(queue):
            ordered = queue.order({loaded}, now)
            assert sorted(ordered, key=id) == sorted(queue, key=id)
            expected = slow.take(loaded, now)
            assert queue.take({loaded}, now) is ordered[0] is expected


@given(ENTRIES, st.sampled_from("ABCD"))
def test_the_order_is_what_taking_one_after_the_other_gives(
    entries: list[Entry[None]], loaded: str
) -> None:
    users = [Entry(e.request_id, "uvw"[at % 3], e.model, e.priority, 0, None)
             for at, e in enumerate(entries)]  # fmt: skip
    queue = filled(*users)
    expected = queue.order({loaded}, 0)
    assert drained(queue, {loaded}) == expected


def test_who_has_waited_elsewhere_is_as_old_as_they_are() -> None:
    """Not everybody is added in the order of arrivals: a user's oldest call may come last."""
    young = Entry("young", "u", "A", 2, 100, None)
    old = Entry("old", "u", "A", 2, 0, None)
    other = Entry("other", "u", "A", 2, 50, None)
    queue = filled(young, old, other, ageing_seconds=90)
    assert queue.first(NOBODY, 101).request_id == "old"  # has aged; the one that came first has not
    assert drained(queue, NOBODY, 101) == [old, young, other]
