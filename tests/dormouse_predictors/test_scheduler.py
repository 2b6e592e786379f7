import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

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


def job(name: str) -> Job:
    claims: Any = None
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
