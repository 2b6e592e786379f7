"""Where the names that callers write lead, and what a call there may cost at most. Pure."""

from dormouse.catalog import Catalog, Route
from dormouse.prices import most_nano
from dormouse_control.internal.schemas import RouteRead
from dormouse_control.settings import Settings

_MIB = 1024 * 1024


def routes(catalog: Catalog, settings: Settings) -> dict[str, RouteRead]:
    """Every model that the profile offers, and aliases."""
    found = catalog.routes(settings.profile)
    return {name: _read(catalog, settings, route) for name, route in found.items()}


def _read(catalog: Catalog, settings: Settings, route: Route) -> RouteRead:
    service = catalog.services[route.service]
    spec, model = service.spec, service.models[route.model].spec
    resources = spec.resources.get(settings.profile)
    largest = spec.scale.max_body_mb
    return RouteRead(
        service=route.service,
        model=route.model,
        endpoints=list(route.endpoints),
        context=model.context,
        gpu=resources is not None and resources.gpu > 0,
        reserve={endpoint: most_nano(spec, model, endpoint) for endpoint in spec.endpoints},
        max_body=None if largest is None else min(largest, settings.max_body_mb) * _MIB,
    )
