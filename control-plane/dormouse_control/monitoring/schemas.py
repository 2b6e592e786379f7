"""Wire types of the platform's state."""

from typing import Literal

from dormouse_control.wire import Answer


class PredictorRead(Answer):
    pid: int | None
    model: str
    state: str
    in_flight: int
    memory_bytes: int
    idle_seconds: float
    port: int | None
    metrics_port: int | None


class ServiceStatusRead(Answer):
    id: str
    status: Literal["asleep", "waking", "awake", "failed", "unknown"]
    stage: str | None
    models_loaded: list[str]
    predictors: list[PredictorRead]
    queue: int
    last_cold_start_ms: int | None


class ProcessRead(Answer):
    name: str
    pid: int | None
    state: Literal["running", "down"]
    uptime_seconds: float | None
    restarts: int
    memory_bytes: int
    metrics_port: int | None


class StatusRead(Answer):
    services: list[ServiceStatusRead]
    processes: list[ProcessRead]


class Health(Answer):
    status: Literal["ok"] = "ok"
