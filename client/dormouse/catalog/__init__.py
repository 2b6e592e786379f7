"""The catalogue: services and models as data. `read_catalog` is its only reader."""

from dormouse.catalog.live import LiveCatalog
from dormouse.catalog.reader import CatalogError, read_catalog
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
]
