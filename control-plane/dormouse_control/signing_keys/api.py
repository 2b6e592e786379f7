"""HTTP of the keys that sign tokens."""

from datetime import UTC, datetime

from fastapi import APIRouter

from dormouse_control import keys, rules
from dormouse_control.deps import ActorDep, PlatformDep, SessionDep
from dormouse_control.idempotency.route import RepeatableRoute
from dormouse_control.signing_keys import operations
from dormouse_control.signing_keys.schemas import SigningKeyRead
from dormouse_control.wire import Page
from dormouse_control.wiring import Platform

router = APIRouter(prefix="/api/v1/signing-keys", route_class=RepeatableRoute)


@router.get("", response_model=Page[SigningKeyRead], dependencies=[rules.ADMINISTRATOR])
def list_signing_keys(platform: PlatformDep) -> Page[SigningKeyRead]:
    """The keys that sign, those that will next, and those that did and are still believed."""
    return _page(platform)


@router.post(
    "", status_code=201, response_model=Page[SigningKeyRead], dependencies=[rules.ADMINISTRATOR]
)
def rotate_signing_keys(
    actor: ActorDep, session: SessionDep, platform: PlatformDep
) -> Page[SigningKeyRead]:
    """Let the next keys sign from now on. Tokens that are out stay valid until they expire."""
    folder = platform.settings.keys_folder
    operations.rotate(session, folder, actor=actor, now=platform.clock())
    return _page(platform)


def _page(platform: Platform) -> Page[SigningKeyRead]:
    found = keys.known(platform.settings.keys_folder)
    items = [
        SigningKeyRead(
            kid=each.kid,
            purpose=each.purpose,
            state=each.state,
            since=datetime.fromtimestamp(each.since, UTC),
        )
        for each in found
    ]
    return Page(items=items, next=None)
