"""HTTP of health, status and public keys."""

from collections.abc import Mapping
from typing import Any  # a JWKS document is JSON

from fastapi import APIRouter, Response

from dormouse_control import rules
from dormouse_control.catalog.operations import live
from dormouse_control.deps import CallerDep, PlatformDep
from dormouse_control.errors import Unavailable
from dormouse_control.monitoring import operations
from dormouse_control.monitoring.schemas import Health, StatusRead

router = APIRouter()


@router.get("/healthz", response_model=Health, dependencies=[rules.ANYONE])
def healthz() -> Health:
    """Whether the control plane lives."""
    return Health()


@router.get("/readyz", response_model=Health, dependencies=[rules.ANYONE])
def readyz(platform: PlatformDep) -> Health:
    """Whether calls can be answered; 503 names what is missing."""
    missing = operations.missing(platform.database, platform.runtime)
    if missing:
        raise Unavailable(f"Not ready: no answer from {' and '.join(missing)}.")
    return Health()


@router.get("/api/v1/status", response_model=StatusRead, dependencies=[rules.CALLER])
def status(_caller: CallerDep, platform: PlatformDep) -> StatusRead:
    """Services awake and asleep, and the platform's processes."""
    return StatusRead(
        services=operations.services(platform.catalog, live(platform.runtime)),
        processes=operations.processes(
            platform.settings.processes_file, now=platform.clock().timestamp()
        ),
    )


@router.get("/.well-known/jwks.json", dependencies=[rules.ANYONE])
def jwks(platform: PlatformDep, response: Response) -> Mapping[str, Any]:
    """The public halves of the keys that sign our tokens."""
    response.headers["cache-control"] = "public, max-age=300"
    return platform.access_keys.document()
