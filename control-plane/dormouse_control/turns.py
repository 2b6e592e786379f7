"""Turns: how many requests are worked on at once, from before a transaction begins until it ended.

A request that holds the database's lock still needs a thread (FastAPI checks the answer in one),
which it would never get while all of them wait for that lock. Three queues, so that who only reads
waits for no writer, and nobody who is signed in for strangers who guess passwords. Each is bounded:
who would wait for long is told to come back.
"""

from collections.abc import AsyncIterator
from enum import Enum

import anyio
from anyio.lowlevel import RunVar
from fastapi import Depends, Request, params

from dormouse_control.db import THREADS
from dormouse_control.errors import Busy


class Kind(Enum):
    """The number is that of turns: together as many as the database has connections."""

    READ = THREADS // 2 - 2
    WRITE = THREADS // 2 - 1
    STRANGER = 3


MOST_WAITING = {Kind.READ: 1000, Kind.WRITE: 300, Kind.STRANGER: 100}

_queues: RunVar[dict[Kind, anyio.Semaphore]] = RunVar("turns")


def kind_of(request: Request) -> Kind:
    if request.method == "GET":
        return Kind.READ
    return Kind.WRITE if "authorization" in request.headers else Kind.STRANGER


async def _turn(request: Request) -> AsyncIterator[None]:
    try:
        queues = _queues.get()
    except LookupError:
        queues = {kind: anyio.Semaphore(kind.value) for kind in Kind}
        _queues.set(queues)
    kind = kind_of(request)
    queue = queues[kind]
    if queue.statistics().tasks_waiting >= MOST_WAITING[kind]:
        raise Busy("Too many requests at once. Try again in a second.")
    async with queue:
        yield


TURN: params.Depends = Depends(_turn, scope="function")
