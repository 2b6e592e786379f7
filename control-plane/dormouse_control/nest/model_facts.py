"""What memory handler and read-ahead must know of a model, told by whoever reads the catalogue.

Of texts and numbers only, because all that the nest is told is handed on as JSON.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dormouse.gpus import need_here
from dormouse.needs import Need

if TYPE_CHECKING:  # it needs pydantic, and the nest does without
    from dormouse.catalog import Catalog, Model, Profile


@dataclass(frozen=True)
class ModelFacts:
    """Fields of the model's .ini (at `ini`, in `folder`), its service, engine and profile."""

    service: str
    model: str
    profile: str
    engine: str
    ini: str
    folder: str
    source: str
    sha256: str | None
    size_mb: float
    layers: int
    context: int
    parameters: int
    kv_mb_per_1000_tokens: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Under which its size is remembered."""
        return self.service, self.model, self.profile

    def need(self) -> Need:
        """As the .ini states it, on this machine. Raises KeyError for an engine that is none."""
        return need_here(self.engine, self)


def model_facts(catalog: "Catalog", profile: "Profile") -> Iterator[ModelFacts]:
    """Of every model that `profile` offers."""
    for service in catalog.services.values():
        for model in service.offered(profile).values():
            yield _facts(service.id, service.spec.engine, model, profile)


def _facts(service: str, engine: str, model: "Model", profile: "Profile") -> ModelFacts:
    spec = model.spec
    return ModelFacts(
        service=service,
        model=model.id,
        profile=profile,
        engine=engine,
        ini=str(model.folder / f"{model.id}.ini"),
        folder=str(model.folder),
        source=spec.source,
        sha256=spec.sha256,
        size_mb=spec.size_mb,
        layers=spec.layers,
        context=spec.context,
        parameters=spec.parameters,
        kv_mb_per_1000_tokens=spec.kv_mb_per_1000_tokens,
    )
