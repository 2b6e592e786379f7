"""What is on offer, put together from the catalogue, the runtime and the caller's entitlements."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import structlog

from dormouse.catalog import Catalog, Model, Profile, Route, Service
from dormouse_control.catalog.schemas import (
    ModelRead,
    OpenAIModel,
    PricesRead,
    ServiceRead,
    Status,
)
from dormouse_control.errors import ModelNotFound, NotFound
from dormouse_control.identity.reach import EVERYTHING, Reach
from dormouse_control.runtimes.base import Runtime, RuntimeUnavailable, ServiceStatus

log = structlog.get_logger(__name__)

_NO_SERVICE = "There is no such service. GET /api/v1/services lists them."


@dataclass(frozen=True)
class View:
    """What a caller may call. A key that is narrowed sees nothing else."""

    entitled: Collection[str]
    reach: Reach = EVERYTHING

    def shows(self, service: Service) -> bool:
        shown = any(self.shows_model(service, model) for model in service.models)
        return shown or not self.reach.restricted

    def shows_model(self, service: Service, model: str) -> bool:
        if not self.reach.restricted:
            return True
        return service.id in self.entitled and self.reach.includes(
            service=service.id, model=model, endpoints=service.spec.endpoints
        )

    def shows_endpoint(self, endpoint: str) -> bool:
        return self.reach.endpoints is None or endpoint in self.reach.endpoints


def find_service(catalog: Catalog, id: str, *, param: str | None = None) -> Service:
    """Raises `NotFound`."""
    service = catalog.services.get(id)
    if service is None:
        raise NotFound(_NO_SERVICE, param=param)
    return service


def find_shown(catalog: Catalog, id: str, *, view: View) -> Service:
    """As `find_service`; what the view does not show is not there."""
    service = find_service(catalog, id)
    if not view.shows(service):
        raise NotFound(_NO_SERVICE)
    return service


def live(runtime: Runtime) -> Mapping[str, ServiceStatus]:
    """By service; empty while the runtime does not answer, because the catalogue stays readable."""
    try:
        return {found.id: found for found in runtime.status()}
    except RuntimeUnavailable as error:
        log.warning("runtime_unavailable", reason=str(error))
        return {}


def describe(
    service: Service,
    *,
    live: Mapping[str, ServiceStatus],
    view: View,
    profile: Profile,
    currency: str,
) -> ServiceRead:
    """A service as its callers see it."""
    now = live.get(service.id)
    status, stage, problem = _state(now)
    loaded = now.models_loaded if now else ()
    offered = service.offered(profile)
    spec = service.spec
    return ServiceRead(
        id=service.id,
        title=spec.title,
        description=spec.description,
        category=spec.category,
        endpoints=[each for each in spec.endpoints if view.shows_endpoint(each)],
        access=spec.access,
        placement=spec.placement,
        aliases=list(spec.aliases),
        models=[
            _model(model, offered=id in offered, loaded=id in loaded)
            for id, model in service.models.items()
            if view.shows_model(service, id)
        ],
        status=status,
        stage=stage,
        problem=problem,
        entitled=service.id in view.entitled,
        prices=PricesRead(
            currency=currency,
            **{name: float(price) for name, price in spec.prices},
        ),
    )


def _state(now: ServiceStatus | None) -> tuple[Status, str | None, str | None]:
    """Status, stage and problem: programs need three states, people also what is wrong."""
    if now is None:
        return "asleep", None, "What runs the models does not answer."
    if now.status == "failed":
        return "asleep", None, now.stage
    return now.status, now.stage, None


def offered_models(catalog: Catalog, *, profile: Profile, view: View) -> list[OpenAIModel]:
    """Every model that may be called by its own name."""
    return [
        _openai_model(name, route, catalog=catalog, view=view)
        for name, route in catalog.routes(profile).items()
        if name == route.model and view.shows_model(catalog.services[route.service], name)
    ]


def find_model(catalog: Catalog, name: str, *, profile: Profile, view: View) -> OpenAIModel:
    """Also by another vendor's name for it. Raises `ModelNotFound`."""
    route = catalog.routes(profile).get(name)
    if route is None or not view.shows_model(catalog.services[route.service], route.model):
        raise ModelNotFound("There is no such model. GET /v1/models lists them.", param="model")
    return _openai_model(name, route, catalog=catalog, view=view)


def _model(model: Model, *, offered: bool, loaded: bool) -> ModelRead:
    return ModelRead(
        id=model.id,
        title=model.spec.title,
        description=model.spec.description,
        license=model.spec.license,
        context=model.spec.context,
        parameters=model.spec.parameters,
        offered=offered,
        loaded=loaded,
    )


def _openai_model(name: str, route: Route, *, catalog: Catalog, view: View) -> OpenAIModel:
    file = catalog.services[route.service].models[route.model].folder / f"{route.model}.ini"
    return OpenAIModel(
        id=name,
        created=int(file.stat().st_mtime) if file.exists() else 0,
        service=route.service,
        entitled=route.service in view.entitled,
    )
