"""First come, first served, with a bound."""

import pytest

from dormouse_control.nest.queue import Entry, Queue, QueueFull


def filled(*ids, bound=10):
    queue = Queue(bound)
    for id in ids:
        queue.add(Entry(id, "m", 1, id))
    return queue


def test_order_is_arrival():
    assert [entry.request_id for entry in filled("a", "b", "c").take_all()] == ["a", "b", "c"]


def test_taking_all_empties_it():
    queue = filled("a")
    queue.take_all()
    assert (len(queue), queue.first()) == (0, None)


def test_the_bound_holds_and_leaving_makes_room():
    queue = filled("a", "b", bound=2)
    with pytest.raises(QueueFull):
        queue.add(Entry("c", "m", 1, None))
    queue.remove("a")
    queue.remove("never there")
    queue.add(Entry("c", "m", 1, None))
    assert [entry.request_id for entry in queue.take_all()] == ["b", "c"]
