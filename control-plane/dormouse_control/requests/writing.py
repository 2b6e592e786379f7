"""Writes what came of an attempt, however often that must be tried: nobody computes twice for it.

Whoever calls this holds the request meanwhile, and cancels when it is not theirs any more.
"""

import asyncio
from itertools import chain, repeat

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session

from dormouse_control.background import to_its_end
from dormouse_control.db import is_full
from dormouse_control.errors import InsufficientStorage, RequestsTakeTooMuch
from dormouse_control.requests import claims
from dormouse_control.requests.claims import Result
from dormouse_control.requests.decisions import Again, does_not_fit, no_space
from dormouse_control.requests.models import AsyncRequest
from dormouse_control.requests.room import check_result
from dormouse_control.settings import Settings
from dormouse_control.wiring import Platform

log = structlog.get_logger(__name__)

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts at first. If the disk is full after these, the answer is let go."""

LAST_PAUSE = 15.0

PASSING = (OperationalError, InterfaceError, NoConnection)
"""The database is away, busy or full: the same may succeed later."""


async def keep(
    platform: Platform, row: AsyncRequest, decided: Result | Again, *, interrupted: bool = False
) -> None:
    """Returns when it is written. `interrupted`: whoever worked on the request ended."""
    for number, pause in enumerate(chain(PAUSES, repeat(LAST_PAUSE))):
        try:
            ours = await to_its_end(write, platform, row, decided, interrupted)
        except (InsufficientStorage, *PASSING) as error:
            log.warning("request_not_written", request=row.id, error=type(error).__name__)
            full = isinstance(error, InsufficientStorage) or is_full(error)
            if full and number >= len(PAUSES) and isinstance(decided, Result):
                decided = _without_answer(decided)
        else:
            break
        await asyncio.sleep(pause)
    state = decided.status.value if isinstance(decided, Result) else "postponed"
    log.info("request_attempted", request=row.id, attempt=row.attempt, state=state, written=ours)


def write(
    platform: Platform, row: AsyncRequest, decided: Result | Again, interrupted: bool
) -> bool:
    """False if it is not the worker's any more. Raises `InsufficientStorage`."""
    now = platform.clock()
    with platform.database.sessions.begin() as session:
        if isinstance(decided, Result):
            result = _fitting(session, row, decided, platform.settings)
            return claims.finish(session, row.id, row.attempt, result, now=now)
        return claims.postpone(
            session,
            row.id,
            row.attempt,
            until=decided.until,
            refusal=decided.refusal,
            interrupted=interrupted,
        )


def _fitting(session: Session, row: AsyncRequest, result: Result, settings: Settings) -> Result:
    if result.body is None:
        return result
    try:
        check_result(session, user_id=row.user_id, size=len(result.body), settings=settings)
    except RequestsTakeTooMuch:
        return does_not_fit(result)
    return result


def _without_answer(result: Result) -> Result:
    return result if result.body is None else no_space(result)
