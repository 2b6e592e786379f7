"""What predictors of one zygote share: built before the fork and used after it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dormouse_predictors.metrics import Metrics
from dormouse_predictors.surface import ENDPOINTS, parser

if TYPE_CHECKING:
    from dormouse_predictors.server import KServeApplication


@dataclass(frozen=True)
class Shared:
    """Without a zygote there is no `kserve`: it is made when it is asked for."""

    metrics: Metrics
    kserve: "KServeApplication | None" = None


def prepare() -> Shared:
    """With all that takes long to import, so that no predictor has to."""
    import httpx  # noqa: F401

    for endpoint in ENDPOINTS.values():
        parser(endpoint)
    return Shared(Metrics(), kserve())


def kserve() -> "KServeApplication":
    from dormouse_predictors.server import KServeApplication

    return KServeApplication()
