import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from dormouse.tokens import InternalClaims
from dormouse_predictors.base import GenerateRequest, Piece
from dormouse_predictors.errors import CallError
from dormouse_predictors.jobs import Job, Outbox
from dormouse_predictors.scheduler import Scheduler


class Line:
    """A scheduler whose work waits for `go`; `done` is what it worked on, in order."""

    def __init__(self, limit: int) -> None:
        self.go = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.done: list[str] = []
        self.scheduler = Scheduler(lambda: self.done.append("first"), self._work, limit=limit)
        self.scheduler.start()

    def _work(self, job: Job) -> None:
        self.begun.release()
        self.go.acquire()
        self.done.append(job.request_id)


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line(limit=2)
    yield line
    line.go.release(100)
    line.scheduler.close(5)


def job(name: str, user: str = "usr_1", **changes: Any) -> Job:
    claims = InternalClaims(user, "key_1", "chat", "tiny", 1, 0, **changes)
    loop = asyncio.new_event_loop()
    outbox = Outbox(loop)
    loop.close()
    return Job(name, "chat.completions", claims, GenerateRequest(()), False, outbox)


def test_first_come_first_served(line: Line) -> None:
    for name in "abc":
        line.scheduler.submit(job(name))
        if name == "a":
            line.begun.acquire(timeout=5)
    line.go.release(3)
    deadline = time.monotonic() + 5
    while len(line.done) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert line.done == ["first", "a", "b", "c"]


def test_a_full_line_refuses_and_says_when_to_come_back(line: Line) -> None:
    line.scheduler.submit(job("runs"))
    line.begun.acquire(timeout=5)
    waiting = [job("a"), job("b")]
    for one in waiting:
        line.scheduler.submit(one)
    with pytest.raises(CallError) as refused:
        line.scheduler.submit(job("c"))
    assert (refused.value.status, refused.value.code) == (429, "queue_full")
    assert refused.value.retry_after == 1
    assert line.scheduler.cancel(waiting[0])
    line.scheduler.submit(job("c"))


def test_a_cancelled_job_that_waits_never_runs(line: Line) -> None:
    running, waiting = job("runs"), job("waits")
    line.scheduler.submit(running)
    line.begun.acquire(timeout=5)
    line.scheduler.submit(waiting)
    assert line.scheduler.cancel(waiting)
    assert not line.scheduler.cancel(running)
    assert running.meter.cancelled
    line.go.release(2)
    line.scheduler.close(5)
    assert line.done == ["first", "runs"]


def test_closing_lets_the_running_job_end(line: Line) -> None:
    line.scheduler.submit(job("runs"))
    line.begun.acquire(timeout=5)
    line.scheduler.submit(job("waits"))
    threading.Timer(0.1, line.go.release).start()
    line.scheduler.close(5)
    assert line.done == ["first", "runs"]
    with pytest.raises(CallError):
        line.scheduler.submit(job("late"))


def test_an_outbox_brings_everything_in_order_from_another_thread() -> None:
    async def run() -> tuple[list[int], int]:
        outbox = Outbox(asyncio.get_running_loop())

        def fill() -> None:
            for at in range(5000):
                outbox.put(Piece(at, ""))

        thread = threading.Thread(target=fill)
        thread.start()
        found: list[int] = []
        takes = 0
        while len(found) < 5000:
            takes += 1
            found += [item.index for item in await outbox.take() if isinstance(item, Piece)]
        thread.join()
        return found, takes

    found, takes = asyncio.run(run())
    assert found == list(range(5000))
    assert takes < 5000


def test_a_defect_costs_one_call_and_not_every_later_one() -> None:
    done: list[str] = []

    def work(found: Job) -> None:
        if found.request_id == "a":
            raise RuntimeError("a defect")
        done.append(found.request_id)

    scheduler = Scheduler(lambda: None, work, limit=5)
    first = job("a")
    told: list[Any] = []
    first.outbox.put = told.append  # type: ignore[method-assign]
    scheduler.start()
    scheduler.submit(first)
    scheduler.submit(job("b"))
    deadline = time.monotonic() + 5
    while not done and time.monotonic() < deadline:
        time.sleep(0.01)
    scheduler.close(5)
    assert done == ["b"]
    assert [type(item).__name__ for item in told] == ["Failed"]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def occupied(line: Line) -> None:
    """A job of nobody else's runs."""
    line.scheduler.submit(job("runs", "usr_0"))
    line.begun.acquire(timeout=5)


def refusal(scheduler: Scheduler, wanted: Job) -> CallError:
    with pytest.raises(CallError) as refused:
        scheduler.submit(wanted)
    assert (refused.value.status, refused.value.code) == (429, "queue_full")
    return refused.value


def test_t78_users_take_turns(line: Line) -> None:
    line.scheduler._limit = 10
    occupied(line)
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        line.scheduler.submit(job(name, name[0]))
    line.go.release(7)
    wait_until(lambda: len(line.done) == 8)
    assert line.done[2:] == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_t78_who_fills_the_line_makes_room_for_others(line: Line) -> None:
    line.scheduler._limit = 4
    occupied(line)
    noisy = [job(f"n{at}", "noisy") for at in range(4)]
    told: dict[str, Any] = {}
    for each in noisy:
        each.outbox.put = partial(told.__setitem__, each.request_id)  # type: ignore[method-assign]
        line.scheduler.submit(each)
    refusal(line.scheduler, job("n4", "noisy"))
    line.scheduler.submit(job("q1", "quiet"))
    assert set(told) == {"n3"}
    assert (told["n3"].error.status, told["n3"].error.code) == (429, "queue_full")
    assert told["n3"].error.retry_after >= 1
    line.scheduler.submit(job("q2", "quiet"))
    assert set(told) == {"n3", "n2"}
    refusal(line.scheduler, job("q3", "quiet"))  # they have as many each
    line.go.release(5)
    wait_until(lambda: len(line.done) == 6)
    assert line.done[2:] == ["n0", "q1", "n1", "q2"]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_user_has_at_most_so_many_waiting(line: Line, most: int) -> None:
    line.scheduler._limit = 10
    wait_until(lambda: line.done == ["first"])
    wait_until(lambda: not line.scheduler._busy)
    line.scheduler.submit(job("runs", max_queued=most))  # at once, so it waits for nothing
    line.begun.acquire(timeout=5)
    for at in range(most):
        line.scheduler.submit(job(f"waits {at}", max_queued=most))
    assert refusal(line.scheduler, job("more", max_queued=most)).retry_after
    line.scheduler.submit(job("another's", "usr_2", max_queued=1))
    line.scheduler.submit(job("no limit"))


def test_a_call_that_would_wait_too_long_is_refused_and_told_for_how_long() -> None:
    go = threading.Semaphore(0)
    scheduler = Scheduler(lambda: None, lambda _: bool(go.acquire()), limit=100, max_wait=1.0)
    scheduler.start()
    try:
        for _ in range(3):
            scheduler.submit(job("x", "usr_0"))
            time.sleep(0.3)
            go.release()
        wait_until(lambda: not scheduler._busy)
        assert 0.25 < scheduler._call_seconds < 0.4
        scheduler.submit(job("runs", "usr_0"))
        wait_until(lambda: scheduler.waiting() == 0)
        for _ in range(3):  # of about 0.3 s each
            scheduler.submit(job("waits"))
        scheduler._note(0.6)
        assert refusal(scheduler, job("waits too long")).retry_after == 2
        scheduler.submit(job("of somebody else", "usr_2"))  # whose turn comes sooner
    finally:
        go.release(100)
        scheduler.close(5)


def test_how_long_calls_take_is_followed_slowly() -> None:
    scheduler = Scheduler(lambda: None, lambda _: None, limit=1)
    for seconds in (2.0, 2.0, 12.0):
        scheduler._note(seconds)
    assert scheduler._call_seconds == pytest.approx(4.0)
