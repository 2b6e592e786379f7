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
from dormouse_predictors.jobs import Job
from dormouse_predictors.outbox import Bell, Outbox
from dormouse_predictors.scheduler import Scheduler
from dormouse_predictors.spacing import Spacing


class Steady:
    """Works on one job at a time; each ends when the test says `go`. Implements `Work`."""

    def __init__(self, parallel: int = 1) -> None:
        self.parallel = parallel
        self.go = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.done: list[str] = []
        self.model: str | None = "tiny"
        self._jobs: list[Job] = []

    @property
    def running(self) -> int:
        return len(self._jobs)

    def loaded(self) -> str | None:
        return self.model

    def may_begin(self, wanted: Job) -> bool:
        return not self._jobs or (len(self._jobs) < self.parallel and wanted.model == self.model)

    def begin(self, found: Job) -> None:
        self.model = found.model
        self._jobs.append(found)
        self.begun.release()

    def step(self) -> None:
        self.go.acquire()
        self.done.append(self._jobs.pop(0).request_id)


class Line(Steady):
    """A scheduler of steady work."""

    def __init__(self, limit: int, parallel: int = 1) -> None:
        super().__init__(parallel)
        self.scheduler = Scheduler(lambda: self.done.append("first"), self, limit=limit)
        self.scheduler.start()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line(limit=2)
    yield line
    line.go.release(100)
    line.scheduler.close(5)


def job(
    name: str, user: str = "usr_1", *, model: str = "tiny", priority: int = 1, **changes: Any
) -> Job:
    claims = InternalClaims(user, "key_1", "chat", model, priority, 0, **changes)
    loop = asyncio.new_event_loop()
    outbox = Outbox(Bell(loop))
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
        outbox = Outbox(Bell(asyncio.get_running_loop()))

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
    class Broken(Steady):
        def begin(self, found: Job) -> None:
            if found.request_id == "a":
                raise RuntimeError("a defect")
            super().begin(found)

    work = Broken()
    work.go.release(5)
    scheduler = Scheduler(lambda: None, work, limit=5)
    first = job("a")
    told: list[Any] = []
    first.outbox.put = told.append  # type: ignore[method-assign]
    scheduler.start()
    scheduler.submit(first)
    scheduler.submit(job("b"))
    deadline = time.monotonic() + 5
    while not work.done and time.monotonic() < deadline:
        time.sleep(0.01)
    scheduler.close(5)
    assert work.done == ["b"]
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
    line.scheduler._waiting._bound = 10
    occupied(line)
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        line.scheduler.submit(job(name, name[0]))
    line.go.release(7)
    wait_until(lambda: len(line.done) == 8)
    assert line.done[2:] == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_t78_who_fills_the_line_makes_room_for_others(line: Line) -> None:
    line.scheduler._waiting._bound = 4
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
    line.scheduler._waiting._bound = 10
    wait_until(lambda: line.done == ["first"])
    wait_until(lambda: line.scheduler._spare == 1)
    line.scheduler.submit(job("runs", max_queued=most))  # at once, so it waits for nothing
    line.begun.acquire(timeout=5)
    for at in range(most):
        line.scheduler.submit(job(f"waits {at}", max_queued=most))
    assert refusal(line.scheduler, job("more", max_queued=most)).retry_after
    line.scheduler.submit(job("another's", "usr_2", max_queued=1))
    line.scheduler.submit(job("no limit"))


def test_a_call_that_would_wait_too_long_is_refused_and_told_for_how_long() -> None:
    work = Steady()
    scheduler = Scheduler(lambda: None, work, limit=100, max_wait=1.0)
    scheduler.start()
    try:
        for name in ("known", "runs"):
            scheduler.submit(job(name, "usr_0"))
            work.begun.acquire(timeout=5)
            if name == "known":
                work.go.release()
                wait_until(lambda: work.done == ["known"])
        scheduler._spacing.seconds = 0.36
        for _ in range(3):
            scheduler.submit(job("waits"))
        assert refusal(scheduler, job("waits too long")).retry_after == 2
        scheduler.submit(job("of somebody else", "usr_2"))  # whose turn comes sooner
    finally:
        work.go.release(100)
        scheduler.close(5)


def test_how_long_calls_take_is_followed_slowly() -> None:
    spacing = Spacing()
    spacing.resume(100)
    for now in (102, 104, 116):
        spacing.note(1, now)
    assert spacing.seconds == pytest.approx(4.0)
    spacing.resume(200)  # nobody called in between
    spacing.note(2, 208)  # eight seconds for two
    assert spacing.seconds == pytest.approx(4.0)


def test_as_many_run_together_as_can() -> None:
    line = Line(limit=5, parallel=3)
    for name in "abcd":
        line.scheduler.submit(job(name))
    for _ in range(3):
        line.begun.acquire(timeout=5)
    assert not line.begun.acquire(timeout=0.1)
    line.go.release(4)
    wait_until(lambda: len(line.done) == 5)
    line.scheduler.close(5)


def test_the_order_is_that_of_the_loaded_model_and_another_waits_for_all_to_end() -> None:
    line = Line(limit=10, parallel=2)
    line.scheduler.submit(job("runs"))
    line.begun.acquire(timeout=5)
    line.scheduler.submit(job("urgent, other", model="big", priority=0))
    line.scheduler.submit(job("other", model="big"))
    line.scheduler.submit(job("loaded"))
    assert not line.begun.acquire(timeout=0.1)  # nobody overtakes the urgent one
    line.go.release(10)
    wait_until(lambda: len(line.done) == 5)
    assert line.done == ["first", "runs", "urgent, other", "other", "loaded"]
    line.scheduler.close(5)


def test_the_same_request_id_twice_is_two_calls(line: Line) -> None:
    for _ in range(2):
        line.scheduler.submit(job("same"))
    line.go.release(2)
    wait_until(lambda: line.done == ["first", "same", "same"])
