"""HTTP of API keys."""

from fastapi import APIRouter

from dormouse.prices import NANO
from dormouse_control import rules
from dormouse_control.deps import (
    ActorDep,
    AfterDep,
    CallerDep,
    IdDep,
    LimitDep,
    PlatformDep,
    ReadingDep,
    SessionDep,
)
from dormouse_control.idempotency.route import RepeatableRoute
from dormouse_control.identity import apikeys
from dormouse_control.identity.keys_limits import Offer
from dormouse_control.identity.keys_schemas import (
    BudgetRead,
    KeyChange,
    KeyCreate,
    KeyCreated,
    KeyRead,
)
from dormouse_control.identity.models import ApiKey
from dormouse_control.pages import Cursors
from dormouse_control.wire import Page
from dormouse_control.wiring import Platform

router = APIRouter(prefix="/api/v1/keys", route_class=RepeatableRoute)


@router.post("", status_code=201, response_model=KeyCreated, dependencies=[rules.SIGNED_IN])
def create_key(
    body: KeyCreate, caller: CallerDep, actor: ActorDep, session: SessionDep, platform: PlatformDep
) -> KeyCreated:
    """Make an API key. It is shown in this answer and never again."""
    row, key = apikeys.create(
        session,
        body,
        actor=actor,
        user_id=caller.id,
        offer=_offer(platform),
        settings=platform.settings,
        now=platform.clock(),
    )
    return KeyCreated(**read(row).model_dump(), key=key)


@router.get("", response_model=Page[KeyRead], dependencies=[rules.FULL_CALLER])
def list_keys(
    caller: CallerDep,
    reading: ReadingDep,
    platform: PlatformDep,
    after: AfterDep = None,
    limit: LimitDep = 50,
) -> Page[KeyRead]:
    """Your API keys, newest first."""
    cursors = Cursors(platform.sealing, owner=caller.id, name="keys", query={})
    position = cursors.read(after)
    rows, following = apikeys.list_keys(reading, user_id=caller.id, after=position, limit=limit)
    return Page(
        items=[read(row) for row in rows], next=cursors.write(following) if following else None
    )


@router.patch("/{id}", response_model=KeyRead, dependencies=[rules.SIGNED_IN])
def change_key(
    id: IdDep,
    body: KeyChange,
    caller: CallerDep,
    actor: ActorDep,
    session: SessionDep,
    platform: PlatformDep,
) -> KeyRead:
    """Change an API key's name or limits. A limit set to null is taken away."""
    row = apikeys.change(
        session,
        body,
        actor=actor,
        user_id=caller.id,
        key_id=id,
        offer=_offer(platform),
        settings=platform.settings,
        now=platform.clock(),
    )
    return read(row)


@router.delete("/{id}", status_code=204, dependencies=[rules.SIGNED_IN])
def revoke_key(
    id: IdDep, caller: CallerDep, actor: ActorDep, session: SessionDep, platform: PlatformDep
) -> None:
    """Revoke an API key, within a second for calls to models."""
    apikeys.revoke(session, actor=actor, user_id=caller.id, key_id=id, now=platform.clock())


def read(row: ApiKey) -> KeyRead:
    """Everything but the key itself."""
    budget = None
    if row.budget_nano is not None and row.budget_period is not None:
        budget = BudgetRead(amount=row.budget_nano / NANO, period=row.budget_period.value)
    return KeyRead(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        services=row.services,
        models=row.models,
        endpoints=row.endpoints,
        ip_ranges=row.ip_ranges,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        concurrent_calls=row.concurrent_calls,
        budget=budget,
        tags=row.tags or {},
    )


def _offer(platform: Platform) -> Offer:
    return Offer.of(platform.catalog, platform.settings.profile)
