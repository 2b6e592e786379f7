"""The catalogue: services and models as data. read by `reader.py` alone."""

from dormouse.catalog.live import LiveCatalog
from dormouse.catalog.reader import CatalogError, read_catalog, read_service
from dormouse.catalog.schemas import (
    Catalog,
    Model,
    ModelSpec,
    Profile,
    Resources,
    Route,
    Service,
    ServiceSpec,
)

__all__ = [
    "Catalog",
    "CatalogError",
    "LiveCatalog",
    "Model",
    "ModelSpec",
    "Profile",
    "Resources",
    "Route",
    "Service",
    "ServiceSpec",
    "read_catalog",
    "read_service",
]
