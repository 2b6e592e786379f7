"""What operators do to a service by hand: see how it is, wake it, put it to sleep."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypeVar

from sqlalchemy.orm import Session

from dormouse.catalog import Catalog
from dormouse_control.audit.record import Actor, record
from dormouse_control.catalog.operations import find_service
from dormouse_control.errors import Conflict, Unavailable
from dormouse_control.monitoring.operations import describe
from dormouse_control.monitoring.schemas import ServiceStatusRead
from dormouse_control.runtimes.base import NotRun, Runtime, RuntimeUnavailable

Answer = TypeVar("Answer")
Verb = Literal["wake", "sleep"]


def status(catalog: Catalog, runtime: Runtime, id: str) -> ServiceStatusRead:
    """Raises `NotFound` or `Unavailable`."""
    service = find_service(catalog, id)
    found = _asked(runtime.status)
    return describe(service.id, {each.id: each for each in found})


def tell(
    session: Session,
    catalog: Catalog,
    runtime: Runtime,
    id: str,
    verb: Verb,
    *,
    actor: Actor,
    now: datetime,
) -> ServiceStatusRead:
    """Wake it, or let it sleep, and how it is then. Raises `NotFound`, `Conflict`, `Unavailable`.

    Written down first, and kept only if it was done.
    """
    service = find_service(catalog, id)
    record(session, f"service.{verb}", actor=actor, subject=service.id, now=now)
    act = runtime.wake if verb == "wake" else runtime.sleep
    try:
        _asked(lambda: act(service.id))
    except NotRun:
        raise Conflict("None of this service's models is offered in this profile.") from None
    return status(catalog, runtime, id)


def _asked(ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except RuntimeUnavailable:
        raise Unavailable("What runs the models does not answer.") from None
