"""Wire types of the platform's state."""

from typing import Literal

from dormouse_control.wire import Answer


class PredictorRead(Answer):
    """It works on `slots` calls at once; `waiting` of those `in_flight` wait for that."""

    pid: int | None
    model: str
    state: str
    in_flight: int
    memory_bytes: int
    idle_seconds: float
    port: int | None
    metrics_port: int | None
    slots: int
    waiting: int


class ServiceStatusRead(Answer):
    """`queue` calls wait for a predictor, the oldest for `oldest_wait_ms`, and may get one in
    `expected_wait_ms`; `eta_ms`: until it is awake. What nobody knows is null. `quarantined` models
    are refused for a while, because loading them ended their processes.
    """

    id: str
    status: Literal["asleep", "waking", "awake", "failed", "unknown"]
    stage: str | None
    models_loaded: list[str]
    predictors: list[PredictorRead]
    queue: int
    last_cold_start_ms: int | None
    eta_ms: int | None
    oldest_wait_ms: int | None
    expected_wait_ms: int | None
    quarantined: list[str]


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
