"""HTTP of services and models."""

from typing import Annotated

from fastapi import APIRouter, Depends

from dormouse_control import rules
from dormouse_control.catalog import operations
from dormouse_control.catalog.operations import View
from dormouse_control.catalog.schemas import OpenAIModel, OpenAIModels, ServiceRead
from dormouse_control.deps import CallerDep, PlatformDep, ReadingDep
from dormouse_control.entitlements.operations import rights
from dormouse_control.wire import Page

router = APIRouter()


def view(caller: CallerDep, reading: ReadingDep, platform: PlatformDep) -> View:
    entitled = rights(reading, user_id=caller.id, now=platform.clock())
    return View(entitled, caller.reach)


ViewDep = Annotated[View, Depends(view)]


@router.get("/api/v1/services", response_model=Page[ServiceRead], dependencies=[rules.CALLER])
def list_services(view: ViewDep, platform: PlatformDep) -> Page[ServiceRead]:
    """What is on offer, what is awake, and what you may call."""
    live = operations.live(platform.runtime)
    settings = platform.settings
    return Page(
        items=[
            operations.describe(
                service, live=live, view=view, profile=settings.profile, currency=settings.currency
            )
            for service in platform.catalog.services.values()
            if view.shows(service)
        ]
    )


@router.get("/api/v1/services/{id}", response_model=ServiceRead, dependencies=[rules.CALLER])
def get_service(id: str, view: ViewDep, platform: PlatformDep) -> ServiceRead:
    """One service."""
    service = operations.find_shown(platform.catalog, id, view=view)
    return operations.describe(
        service,
        live=operations.live(platform.runtime),
        view=view,
        profile=platform.settings.profile,
        currency=platform.settings.currency,
    )


@router.get("/v1/models", response_model=OpenAIModels, dependencies=[rules.CALLER])
def list_models(view: ViewDep, platform: PlatformDep) -> OpenAIModels:
    """Every model on offer, in OpenAI's shape."""
    profile = platform.settings.profile
    return OpenAIModels(
        data=operations.offered_models(platform.catalog, profile=profile, view=view)
    )


@router.get("/v1/models/{id:path}", response_model=OpenAIModel, dependencies=[rules.CALLER])
def get_model(id: str, view: ViewDep, platform: PlatformDep) -> OpenAIModel:
    """One model, in OpenAI's shape. Names of other vendors' models that we answer to work too."""
    profile = platform.settings.profile
    return operations.find_model(platform.catalog, id, profile=profile, view=view)
