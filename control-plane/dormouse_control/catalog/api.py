"""HTTP of services and models."""

from fastapi import APIRouter

from dormouse_control.catalog import operations
from dormouse_control.catalog.schemas import OpenAIModel, OpenAIModels, ServiceRead
from dormouse_control.deps import CallerDep, PlatformDep, ReadingDep
from dormouse_control.entitlements.operations import active_services
from dormouse_control.wire import Page

router = APIRouter()


@router.get("/api/v1/services", response_model=Page[ServiceRead])
def list_services(
    caller: CallerDep, reading: ReadingDep, platform: PlatformDep
) -> Page[ServiceRead]:
    """What is on offer, what is awake, and what you may call."""
    entitled = active_services(reading, user_id=caller.id)
    live = operations.live(platform.runtime)
    settings = platform.settings
    return Page(
        items=[
            operations.describe(
                service,
                live=live,
                entitled=entitled,
                profile=settings.profile,
                currency=settings.currency,
            )
            for service in platform.catalog.services.values()
        ]
    )


@router.get("/api/v1/services/{id}", response_model=ServiceRead)
def get_service(
    id: str, caller: CallerDep, reading: ReadingDep, platform: PlatformDep
) -> ServiceRead:
    """One service."""
    service = operations.find_service(platform.catalog, id)
    return operations.describe(
        service,
        live=operations.live(platform.runtime),
        entitled=active_services(reading, user_id=caller.id),
        profile=platform.settings.profile,
        currency=platform.settings.currency,
    )


@router.get("/v1/models", response_model=OpenAIModels)
def list_models(caller: CallerDep, reading: ReadingDep, platform: PlatformDep) -> OpenAIModels:
    """Every model on offer, in OpenAI's shape."""
    models = operations.offered_models(
        platform.catalog,
        profile=platform.settings.profile,
        entitled=active_services(reading, user_id=caller.id),
    )
    return OpenAIModels(data=models)


@router.get("/v1/models/{id:path}", response_model=OpenAIModel)
def get_model(
    id: str, caller: CallerDep, reading: ReadingDep, platform: PlatformDep
) -> OpenAIModel:
    """One model, in OpenAI's shape. Names of other vendors' models that we answer to work too."""
    return operations.find_model(
        platform.catalog,
        id,
        profile=platform.settings.profile,
        entitled=active_services(reading, user_id=caller.id),
    )
