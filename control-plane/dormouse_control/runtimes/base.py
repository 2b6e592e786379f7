"""The seam to whatever runs predictors: the nest on one machine, KServe in a cluster."""

from dataclasses import dataclass
from typing import Literal, Protocol

from dormouse.catalog import Catalog

State = Literal["asleep", "waking", "awake", "failed"]


class RuntimeUnavailable(Exception):
    """Whatever runs the predictors does not answer."""


class NotRun(Exception):
    """It runs no such service: none of its models is offered."""


@dataclass(frozen=True)
class PredictorStatus:
    """One predictor process. `memory_bytes` is its proportional share (PSS); times in seconds.

    It works on `slots` calls at once; `waiting` of those `in_flight` wait for that.
    """

    pid: int | None
    model: str
    state: str
    in_flight: int
    memory_bytes: int
    idle_seconds: float
    port: int | None
    metrics_port: int | None
    slots: int = 1
    waiting: int = 0


@dataclass(frozen=True)
class ServiceStatus:
    """One service. `stage` says how far a wake has come, or why it failed.

    `queue` calls wait for a predictor. What is expected is None while nobody knows: `eta_ms` until
    the service is awake, `expected_wait_ms` of the calls that wait. `quarantined` models are
    refused for a while, because loading them ended their processes.
    """

    id: str
    status: State
    stage: str | None
    models_loaded: tuple[str, ...]
    predictors: tuple[PredictorStatus, ...]
    queue: int
    last_cold_start_ms: int | None
    eta_ms: int | None = None
    oldest_wait_ms: int | None = None
    expected_wait_ms: int | None = None
    quarantined: tuple[str, ...] = ()


class Runtime(Protocol):
    """Every implementation answers within a second and raises only what is here."""

    def ping(self) -> None:
        """Return if it answers: cheap enough for a probe that anybody may call."""
        ...

    def status(self) -> list[ServiceStatus]:
        """Every service of the catalogue, asleep ones too."""
        ...

    def wake(self, service: str) -> None:
        """Have it awake soon, whatever went wrong before. Raises `NotRun`."""
        ...

    def adopt(self, catalog: Catalog) -> None:
        """This is the catalogue from now on, of which it may run other services and models."""
        ...

    def sleep(self, service: str) -> None:
        """Let its predictors end what they do and no more, until the next call. Raises `NotRun`."""
        ...
