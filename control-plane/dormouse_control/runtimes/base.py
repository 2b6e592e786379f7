"""The seam to whatever runs predictors: the nest on one machine, KServe in a cluster."""

from dataclasses import dataclass
from typing import Literal, Protocol

State = Literal["asleep", "waking", "awake", "failed"]


class RuntimeUnavailable(Exception):
    """Whatever runs the predictors does not answer."""


@dataclass(frozen=True)
class PredictorStatus:
    """One predictor process. `memory_bytes` is its proportional share (PSS); times in seconds."""

    pid: int | None
    model: str
    state: str
    in_flight: int
    memory_bytes: int
    idle_seconds: float
    port: int | None
    metrics_port: int | None


@dataclass(frozen=True)
class ServiceStatus:
    """One service. `stage` says how far a wake has come, or why it failed."""

    id: str
    status: State
    stage: str | None
    models_loaded: tuple[str, ...]
    predictors: tuple[PredictorStatus, ...]
    queue: int
    last_cold_start_ms: int | None


class Runtime(Protocol):
    """Every implementation answers within a second and raises only RuntimeUnavailable."""

    def ping(self) -> None:
        """Return if it answers: cheap enough for a probe that anybody may call."""
        ...

    def status(self) -> list[ServiceStatus]:
        """Every service of the catalogue, asleep ones too."""
        ...
