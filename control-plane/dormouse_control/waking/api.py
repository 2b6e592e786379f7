"""HTTP of waking services and putting them to sleep by hand."""

from typing import Annotated

from fastapi import APIRouter, Path

from dormouse_control import rules
from dormouse_control.deps import ActorDep, PlatformDep, SessionDep
from dormouse_control.monitoring.schemas import ServiceStatusRead
from dormouse_control.waking import operations

router = APIRouter(prefix="/api/v1/services/{id}")

ServicePath = Annotated[str, Path(max_length=100, pattern=r"^[\w-]+$")]


@router.get("/status", response_model=ServiceStatusRead, dependencies=[rules.OPERATOR])
def service_status(id: ServicePath, platform: PlatformDep) -> ServiceStatusRead:
    """How one service is: its predictors, its queue, and when it will be awake."""
    return operations.status(platform.catalog, platform.runtime, id)


@router.post(
    "/wake", status_code=202, response_model=ServiceStatusRead, dependencies=[rules.OPERATOR]
)
def wake_service(
    id: ServicePath, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> ServiceStatusRead:
    """Wake it without a call, and end quarantines of its models. Answers before it is awake."""
    return operations.tell(
        session,
        platform.catalog,
        platform.runtime,
        id,
        "wake",
        actor=actor,
        now=platform.clock(),
    )


@router.post(
    "/sleep", status_code=202, response_model=ServiceStatusRead, dependencies=[rules.OPERATOR]
)
def sleep_service(
    id: ServicePath, session: SessionDep, actor: ActorDep, platform: PlatformDep
) -> ServiceStatusRead:
    """Let its predictors end once their calls have; it sleeps until the next call."""
    return operations.tell(
        session,
        platform.catalog,
        platform.runtime,
        id,
        "sleep",
        actor=actor,
        now=platform.clock(),
    )
