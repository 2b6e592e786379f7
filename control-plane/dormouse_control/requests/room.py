"""Whether there is room for one more request: of its user, and on the disk."""

import shutil

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from dormouse_control.db import take_turn
from dormouse_control.errors import InsufficientStorage, RequestsTakeTooMuch, TooManyRequestsOpen
from dormouse_control.requests.models import OPEN, AsyncRequest
from dormouse_control.settings import Settings

KEPT_FOR_EACH_OPEN = 10
"""So many times as many as may be open may be kept, those that have ended included."""

_MIB = 1024 * 1024


def check_room(session: Session, *, user_id: str, size: int, settings: Settings) -> None:
    """Parallel requests of one user are looked at one after another.

    Raises `TooManyRequestsOpen`, `RequestsTakeTooMuch` or `InsufficientStorage`.
    """
    take_turn(session, f"asynchronous {user_id}")
    mine = AsyncRequest.user_id == user_id
    if _one(session, func.count(), mine, AsyncRequest.status.in_(OPEN)) >= settings.async_requests:
        raise TooManyRequestsOpen(
            f"{settings.async_requests} requests of yours wait or run already. Try again when one"
            " has ended, or cancel one."
        )
    most = KEPT_FOR_EACH_OPEN * settings.async_requests
    if _one(session, func.count(), mine) >= most:
        raise RequestsTakeTooMuch(
            f"{most} requests of yours are kept. DELETE those that have ended and that you need no"
            " more."
        )
    _check_share(session, user_id, size, settings)
    _check_disk(size, settings)


def check_result(session: Session, *, user_id: str, size: int, settings: Settings) -> None:
    """Raises `RequestsTakeTooMuch` or `InsufficientStorage`."""
    take_turn(session, f"asynchronous {user_id}")
    _check_share(session, user_id, size, settings)
    _check_disk(size, settings)


def _check_share(session: Session, user_id: str, size: int, settings: Settings) -> None:
    taken = AsyncRequest.asked_bytes + AsyncRequest.answered_bytes
    mine = AsyncRequest.user_id == user_id
    if _one(session, func.sum(taken), mine) + size > settings.async_stored_mb * _MIB:
        raise RequestsTakeTooMuch(
            f"Your requests and their results take {settings.async_stored_mb} MiB. DELETE those"
            " that you need no more."
        )


def _check_disk(size: int, settings: Settings) -> None:
    if shutil.disk_usage(settings.home).free - size < settings.reserved_disk_mb * _MIB:
        raise InsufficientStorage("There is no space left to keep this. Try again later.")


def _one(session: Session, what: ColumnElement[int], *where: ColumnElement[bool]) -> int:
    return session.scalar(select(what).select_from(AsyncRequest).where(*where)) or 0
