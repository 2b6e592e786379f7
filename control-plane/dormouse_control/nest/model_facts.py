"""What memory handler and read-ahead must know of a model, told by whoever reads the catalogue.

Of texts and numbers only, because all that the nest is told is handed on as JSON.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dormouse.gpus import need_here
from dormouse.needs import Need, contexts_within, need_of

if TYPE_CHECKING:  # it needs pydantic, and the nest does without
    from dormouse.catalog import Catalog, Model, Profile, Service


@dataclass(frozen=True)
class ModelFacts:
    """Fields of the model's .ini (at `ini`, in `folder`), its service, engine and profile, and how
    many `contexts` it can use in what its service may take."""

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
    contexts: int = 1

    @property
    def key(self) -> tuple[str, str, str]:
        """Under which its size is remembered."""
        return self.service, self.model, self.profile

    def need(self) -> Need:
        """As the .ini states it, on this machine. Raises KeyError for an engine that is none."""
        return need_here(self.engine, self, contexts=self.contexts)


def model_facts(catalog: "Catalog", profile: "Profile") -> Iterator[ModelFacts]:
    """Of every model that `profile` offers."""
    for service in catalog.services.values():
        for model in service.offered(profile).values():
            yield _facts(service, model, profile)


def _facts(service: "Service", model: "Model", profile: "Profile") -> ModelFacts:
    spec, engine = model.spec, service.spec.engine
    resources = service.spec.resources.get(profile)
    memory_mb = 1024.0 if resources is None else resources.memory_bytes / 2**20
    context_mb = need_of(engine, spec).context_mb
    return ModelFacts(
        service=service.id,
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
        contexts=contexts_within(memory_mb - spec.size_mb, context_mb, spec.parallel),
    )
