"""All that is one user's, from one state of the database."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dormouse.prices import NANO
from dormouse_control.catalog import operations as catalog
from dormouse_control.catalog.operations import View
from dormouse_control.entitlements.operations import list_entitlements, rights
from dormouse_control.identity import apikeys
from dormouse_control.identity.keys_api import read as read_key
from dormouse_control.identity.models import UserSession
from dormouse_control.identity.operations import Caller
from dormouse_control.identity.schemas import Me
from dormouse_control.identity.sessions import Signing, living
from dormouse_control.runtimes.base import ServiceStatus
from dormouse_control.settings import Settings
from dormouse_control.tiers.models import Tier
from dormouse_control.usage.filters import Filters
from dormouse_control.usage.operations import totals
from dormouse_control.wiring import Platform
from dormouse_control.workspace.schemas import (
    Workspace,
    WorkspaceLimits,
    WorkspaceModel,
    WorkspaceService,
    WorkspaceUsage,
)

_MOST_KEYS = 200


def workspace(
    reading: Session,
    caller: Caller,
    *,
    platform: Platform,
    live: Mapping[str, ServiceStatus],
    now: datetime,
) -> Workspace:
    """`live` is asked before, so that the database does not wait for it."""
    entitled = rights(reading, user_id=caller.id, now=now)
    keys, _ = apikeys.list_keys(reading, user_id=caller.id, after=None, limit=_MOST_KEYS)
    asked = list_entitlements(reading, user_id=caller.id, now=now)
    return Workspace(
        account=Me.model_validate(caller),
        services=_services(platform, entitled, live),
        models=_models(platform, entitled),
        versions=[],
        keys=[read_key(row) for row in keys],
        usage=_usage(reading, caller.id, currency=platform.settings.currency, now=now),
        limits=_limits(reading, caller, settings=platform.settings),
        requests=[each for each in asked if each.status == "pending"],
        sessions=_sessions(reading, caller.id, signing=platform.signing, now=now),
    )


def _services(
    platform: Platform,
    entitled: Mapping[str, datetime | None],
    live: Mapping[str, ServiceStatus],
) -> list[WorkspaceService]:
    settings = platform.settings
    described = [
        catalog.describe(
            service,
            live=live,
            view=View(entitled),
            profile=settings.profile,
            currency=settings.currency,
        )
        for service in platform.catalog.services.values()
    ]
    return [
        WorkspaceService(
            id=each.id,
            title=each.title,
            status=each.status,
            entitled=each.entitled,
            entitled_until=entitled.get(each.id),
        )
        for each in described
    ]


def _models(platform: Platform, entitled: Mapping[str, datetime | None]) -> list[WorkspaceModel]:
    return [
        WorkspaceModel(id=model.id, title=model.spec.title, service=service.id)
        for service in platform.catalog.services.values()
        if service.id in entitled
        for model in service.offered(platform.settings.profile).values()
    ]


def _usage(reading: Session, user_id: str, *, currency: str, now: datetime) -> WorkspaceUsage:
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return WorkspaceUsage(
        month=totals(reading, Filters(user_id, since=month)),
        all=totals(reading, Filters(user_id)),
        currency=currency,
    )


def _limits(reading: Session, caller: Caller, *, settings: Settings) -> WorkspaceLimits:
    tier = reading.get_one(Tier, caller.tier)
    budget = tier.monthly_budget_nano
    return WorkspaceLimits(
        requests_per_minute=tier.requests_per_minute or settings.requests_per_minute,
        tokens_per_minute=tier.tokens_per_minute or settings.tokens_per_minute,
        concurrent_calls=tier.concurrent_calls or settings.concurrent_calls,
        highest_priority=tier.highest_priority,
        most_keys=tier.most_keys,
        monthly_budget=None if budget is None else budget / NANO,
    )


def _sessions(reading: Session, user_id: str, *, signing: Signing, now: datetime) -> int:
    open_ones = (UserSession.user_id == user_id, *living(signing, now=now))
    return reading.scalar(select(func.count()).where(*open_ones)) or 0
