"""HTTP of leaving: take everything along, and be forgotten."""

from typing import Any  # OpenAPI is JSON

from fastapi import APIRouter, Response

from dormouse_control import rules
from dormouse_control.deps import ActorDep, CallerDep, PlatformDep, ReadingDep
from dormouse_control.downloads import download
from dormouse_control.leaving import export, operations
from dormouse_control.leaving.schemas import Erase

router = APIRouter(prefix="/api/v1/me")

_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get("/export", response_class=Response, responses=_ZIP, dependencies=[rules.SIGNED_IN])
def export_me(caller: CallerDep, reading: ReadingDep, platform: PlatformDep) -> Response:
    """All that is stored about you, as a ZIP archive."""
    now = platform.clock()
    return download(
        lambda file: export.write(reading, file, user_id=caller.id, now=now),
        name="dormouse-export.zip",
        kind="application/zip",
    )


@router.post("/erase", status_code=204, dependencies=[rules.SIGNED_IN])
def erase_me(body: Erase, caller: CallerDep, actor: ActorDep, platform: PlatformDep) -> None:
    """Erase your account for good. The password and code of the account have to be right."""
    operations.erase_self(platform, caller, password=body.password, code=body.code, actor=actor)
