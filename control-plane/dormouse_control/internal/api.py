"""The API for our own processes, on a socket that nobody else can open and no route leads to."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from dormouse_control.awake import operations as awake
from dormouse_control.deps import PlatformDep
from dormouse_control.errors import BodyTooLarge
from dormouse_control.identity import revocations
from dormouse_control.internal import operations
from dormouse_control.internal import routes as places
from dormouse_control.internal.schemas import (
    BookedRead,
    Events,
    Periods,
    PeriodsRead,
    PrincipalRead,
    Question,
    RejectedRead,
    RevocationRead,
    RevocationsRead,
    RoutesRead,
)
from dormouse_control.leases import operations as lending
from dormouse_control.leases.schemas import Batch, Lots
from dormouse_control.usage import ingestion
from dormouse_control.wiring import Platform

router = APIRouter(prefix="/internal/v1")

LONGEST_WAIT_SECONDS = 25
MOST_EVENTS = 1000


@router.post("/principals", response_model=PrincipalRead)
def principal(question: Question, platform: PlatformDep) -> PrincipalRead:
    """Who a credential stands for, and what they may call."""
    # In this thread alone: hundreds may be asked for at once, and a session that another thread
    # had to close would keep its connection from all that wait for one.
    with platform.database.reads() as reading:
        return operations.principal(reading, question, platform=platform, now=platform.clock())


@router.get("/revocations", response_model=RevocationsRead)
async def revocations_after(
    request: Request,
    platform: PlatformDep,
    after: Annotated[int, Query(ge=-1, lt=2**63)],
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT_SECONDS)] = 0,
    follower: Annotated[str | None, Query(max_length=64, pattern=r"^[\w-]+$")] = None,
) -> RevocationsRead:
    """What was taken back since number `after`, as soon as there is something.

    -1 is for who begins to follow: the newest number, and what was taken back in the last minutes.
    Whoever asks with a number has acted on all up to it; under a name of its own as `follower` it
    is waited for before anybody is told that something was taken back.
    Async, with a short session for each look: whoever waits holds neither thread nor connection.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    draining: asyncio.Event = request.app.state.draining
    with platform.bell.listening(follower, after) as rung, _hanging_up(request) as gone:
        while True:
            rung.clear()
            news = await run_in_threadpool(_look, platform, after)
            rest = deadline - loop.time()
            if after == -1 or news.reset or news.items or rest <= 0 or draining.is_set():
                return news
            await _first_of(rung, draining, gone, seconds=rest)
            if gone.is_set():
                platform.bell.leaves(follower)
                return news


@router.get("/routes", response_model=RoutesRead)
def routes(
    platform: PlatformDep, known: Annotated[str | None, Query(max_length=64)] = None
) -> RoutesRead:
    """Every name that a caller may write, and where it leads."""
    version, catalog = platform.live_catalog.version, platform.catalog
    if version == known:
        return RoutesRead(version=version, models=None)
    return RoutesRead(version=version, models=places.routes(catalog, platform.settings))


@router.post("/events", response_model=BookedRead)
def events(body: Events, platform: PlatformDep) -> BookedRead:
    """Book usage events; the answer follows the commit."""
    if len(body.events) > MOST_EVENTS:
        raise BodyTooLarge(f"A batch may have {MOST_EVENTS} events.", param="events")
    with platform.database.sessions.begin() as session:
        booked = ingestion.book(
            session, body.events, catalog=platform.catalog, now=platform.clock()
        )
    ingestion.count(booked)
    rejected = [RejectedRead.model_validate(found) for found in booked.rejected]
    return BookedRead(accepted=booked.accepted, duplicates=booked.duplicates, rejected=rejected)


@router.post("/periods", response_model=PeriodsRead)
def periods(body: Periods, platform: PlatformDep) -> PeriodsRead:
    """How long predictors were there, once each; their calls get their shares of idle time."""
    now = platform.clock()
    with platform.database.sessions.begin() as session:
        new = awake.keep(session, [awake.period(**dict(each)) for each in body.periods], now=now)
    awake.share_all(platform.database.sessions, now=now)
    return PeriodsRead(accepted=new, duplicates=len(body.periods) - new)


@router.post("/leases", response_model=Lots)
def leases(body: Batch, platform: PlatformDep) -> Lots:
    """Lend an authorizer pieces of limits and budgets; the answer follows the commit."""
    with platform.database.sessions.begin() as session:
        return lending.lend(session, body, now=platform.clock())


def _look(platform: Platform, after: int) -> RevocationsRead:
    with platform.database.reads() as reading:
        news = (
            revocations.newest(reading, now=platform.clock())
            if after == -1
            else revocations.news(reading, after=after)
        )
    items = [
        RevocationRead(
            seq=row.seq, kind=row.kind, id=row.subject, service=row.service, cuts=row.cuts
        )
        for row in news.items
    ]
    return RevocationsRead(last=news.last, reset=news.reset, items=items)


@contextlib.contextmanager
def _hanging_up(request: Request) -> Iterator[asyncio.Event]:
    """Set once the caller has gone. The request's body must have been read, or have been none."""
    gone = asyncio.Event()

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue
        gone.set()

    task = asyncio.create_task(listen())
    try:
        yield gone
    finally:
        task.cancel()


async def _first_of(*events: asyncio.Event, seconds: float) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
