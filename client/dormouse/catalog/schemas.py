"""Typed shape of `service.yaml` and of a model's `.ini`.

The JSON Schema beside the catalogue and docs/reference/catalog.md are made from here
(`json_schema.py`), so every field says what it means.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from dormouse import windows

Profile = Literal["starter", "standard"]
Endpoint = Literal["chat.completions", "completions", "embeddings"]

# KServe derives host names by plain text replacement: both substrings break it.
_FORBIDDEN_IN_NAMES = ("-default", "-predictor")

ServiceId = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,51}[a-z0-9])?$")]
ModelId = Annotated[str, Field(pattern=r"^[a-z0-9]([-._a-z0-9]{0,126}[a-z0-9])?$")]
Source = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*:\S+$")]


def _window(text: str) -> str:
    windows.parse(text)
    return text


Window = Annotated[str, AfterValidator(_window)]


class Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False
    )


class Scale(Strict):
    """When a service wakes, sleeps and refuses."""

    idle_seconds: float = Field(
        default=300, gt=0, description="Sleep after this long without a call."
    )
    min_replicas: int = Field(
        default=0, ge=0, description="Fewest predictors: so many never sleep."
    )
    max_replicas: int = Field(
        default=1,
        ge=1,
        description="Most predictors at once; another starts when the others have more calls than"
        " they can work on.",
    )
    keep_warm: list[Window] = Field(
        default_factory=list,
        description="When at least one is kept awake, e.g. `Mon-Fri 08:00-18:00 Europe/Madrid`.",
    )
    timeout_seconds: float = Field(
        default=600, gt=0, le=600, description="Longest call, waking aside."
    )
    queue_length: int = Field(
        default=100, ge=1, description="Calls that may wait; more are refused (429)."
    )
    max_body_mb: int | None = Field(
        default=None, ge=1, description="Largest body of a call, in MiB, if not the platform's."
    )

    @model_validator(mode="after")
    def _fewest_are_allowed(self) -> "Scale":
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas must not be more than max_replicas")
        return self


class Resources(Strict):
    """What one predictor may use, in Kubernetes' notation."""

    cpu: str = Field(
        default="1", pattern=r"^\d+(\.\d+)?m?$", description='Cores, e.g. "1" or "500m".'
    )
    memory: str = Field(default="1Gi", pattern=r"^\d+(Ki|Mi|Gi)$", description="Main memory.")
    gpu: int = Field(default=0, ge=0, description="Whole GPUs.")

    @property
    def memory_bytes(self) -> int:
        return int(self.memory[:-2]) << 10 * (1 + ("Ki", "Mi", "Gi").index(self.memory[-2:]))


Price = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=9)]


class Prices(Strict):
    """In the platform's currency."""

    per_1000_prompt_tokens: Price = Field(
        default=Decimal(0), description="For what a caller sends."
    )
    per_1000_completion_tokens: Price = Field(
        default=Decimal(0), description="For what a model answers."
    )
    per_audio_second: Price = Field(
        default=Decimal(0), description="For a second of sound that goes in or comes out."
    )
    per_image: Price = Field(default=Decimal(0), description="For an image that is made.")
    per_gpu_second: Price = Field(
        default=Decimal(0), description="For a second of computing on one GPU."
    )
    per_load: Price = Field(
        default=Decimal(0), description="For a call that makes a predictor load a model."
    )


class Limits(Strict):
    """What one user may ask of a service, beside what the user's tier and keys allow."""

    requests_per_minute: int | None = Field(default=None, ge=1, description="Calls.")
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Tokens of prompts and answers together."
    )
    concurrent_calls: int | None = Field(
        default=None, ge=1, description="Calls that run or wait at the same time."
    )


class ServiceSpec(Strict):
    """One `service.yaml`: a model family, one InferenceService, one folder."""

    title: str = Field(min_length=1, description="Its name for people.")
    description: str = Field(default="", description="One sentence for people.")
    category: Literal["text", "audio", "images", "vision"] = Field(
        description="Where lists of services show it."
    )
    engine: Literal["llama", "transformers-embeddings"] = Field(
        description="The code that loads and runs its models."
    )
    endpoints: list[Endpoint] = Field(min_length=1, description="What callers may ask of it.")
    access: Literal["open", "approval"] = Field(
        default="open",
        description="open: users entitle themselves; approval: somebody has to agree.",
    )
    placement: Literal["serverless", "dedicated"] = Field(
        default="serverless",
        description="serverless: sleeps when idle; dedicated: one is always awake.",
    )
    scale: Scale = Field(default_factory=Scale, description="When it wakes, sleeps and refuses.")
    resources: dict[Profile, Resources] = Field(
        default_factory=dict, description="What one predictor may use, per profile."
    )
    prices: Prices = Field(
        default_factory=Prices, description="What calls cost, in the platform's currency."
    )
    limits: Limits = Field(
        default_factory=Limits, description="What one user may ask of it; all if nothing is said."
    )
    default_model: dict[Profile, ModelId] = Field(
        default_factory=dict, description="The model that an alias means, per profile."
    )
    aliases: list[ModelId] = Field(
        default_factory=list, description="Names of other vendors' models that mean default_model."
    )


class ModelSpec(Strict):
    """The `[model]` section of one `.ini`: a name that callers may write into `model`."""

    title: str = Field(min_length=1, description="Its name for people.")
    description: str = Field(default="", description="One sentence for people.")
    profiles: list[Profile] = Field(
        min_length=1, description="Profiles that offer it; in the .ini separated by commas."
    )
    source: Source = Field(description="Where the weights are, e.g. builtin:, file:, hf:, https:")
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="Of the weights' file; checked when it is fetched.",
    )
    size_mb: float = Field(gt=0, description="Memory the loaded weights take, in MiB.")
    layers: int = Field(gt=0, description="Of the network; the unit of placing it on a GPU.")
    context: int = Field(gt=0, description="Longest prompt and answer together, in tokens.")
    parameters: int = Field(gt=0, description="Number of weights.")
    kv_mb_per_1000_tokens: float | None = Field(
        default=None,
        ge=0,
        description="Memory that 1,000 tokens of the context take, in MiB; else it is estimated"
        " from layers and parameters, rather too high.",
    )
    license: str = Field(min_length=1, description="SPDX identifier, or the licence's own name.")
    quantization: str = Field(
        default="none", description="How the weights are stored, e.g. Q4_K_M."
    )
    parallel: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Calls worked on at the same time, at most, if memory allows; else at most 8.",
    )
    dimensions: int | None = Field(default=None, gt=0, description="Length of an embedding.")
    pooling: Literal["mean", "cls"] | None = Field(
        default=None, description="How an embedding is made from its tokens' vectors."
    )

    @field_validator("profiles", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        # An .ini has texts only: "starter, standard".
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class _Names(Strict):
    """Checks names that come from folders."""

    service: ServiceId
    models: list[ModelId]

    @model_validator(mode="after")
    def _no_traps(self) -> "_Names":
        for part in _FORBIDDEN_IN_NAMES:
            if part in self.service:
                raise ValueError(f"a service name must not contain {part!r}")
        return self


def check_names(service: str, models: list[str]) -> None:
    """Raises pydantic's ValidationError for a name that the platform cannot carry."""
    _Names(service=service, models=models)


@dataclass(frozen=True)
class Model:
    id: str
    folder: Path
    spec: ModelSpec


@dataclass(frozen=True)
class Service:
    id: str
    folder: Path
    spec: ServiceSpec
    models: Mapping[str, Model]

    def offered(self, profile: Profile) -> dict[str, Model]:
        """The models that `profile` comes up with; standard includes starter's."""
        wanted = {"starter"} if profile == "starter" else {"starter", "standard"}
        return {id: model for id, model in self.models.items() if wanted & set(model.spec.profiles)}


@dataclass(frozen=True)
class Route:
    """Where a name that a caller writes leads."""

    service: str
    model: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class Catalog:
    services: Mapping[str, Service]

    def routes(self, profile: Profile) -> dict[str, Route]:
        """Callable name -> route: every offered model, and aliases of other vendors' names."""
        found: dict[str, Route] = {}
        for service in self.services.values():
            endpoints = tuple(service.spec.endpoints)
            offered = service.offered(profile)
            for model in offered:
                found[model] = Route(service.id, model, endpoints)
            default = service.spec.default_model.get(profile)
            if default in offered:
                for alias in service.spec.aliases:
                    found.setdefault(alias, Route(service.id, default, endpoints))
        return found
