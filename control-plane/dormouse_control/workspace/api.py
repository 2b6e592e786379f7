"""HTTP of the workspace."""

from fastapi import APIRouter

from dormouse_control import rules
from dormouse_control.catalog.operations import live
from dormouse_control.deps import CallerDep, PlatformDep, ReadingDep
from dormouse_control.workspace import operations
from dormouse_control.workspace.schemas import Workspace

router = APIRouter(prefix="/api/v1/workspace")


@router.get("", response_model=Workspace, dependencies=[rules.FULL_CALLER])
def workspace(caller: CallerDep, reading: ReadingDep, platform: PlatformDep) -> Workspace:
    """All that is yours: services, models, versions, keys, usage, limits, requests."""
    seen = live(platform.runtime)
    return operations.workspace(reading, caller, platform=platform, live=seen, now=platform.clock())
