"""What the nest says of a service and its predictors."""

from collections.abc import Sequence

from dormouse_control.nest.predictor import Predictor
from dormouse_control.runtimes.base import PredictorStatus, ServiceStatus, State


def describe(
    service: str,
    alive: Sequence[Predictor],
    *,
    waiting: int,
    failure: str | None,
    quarantined: tuple[str, ...],
    oldest_wait: float | None,
    expected_wait: float | None,
    last_cold_start_ms: int | None,
) -> ServiceStatus:
    """`failure` of the last wake, `expected_wait` until a predictor is ready: both in seconds, both
    None if there is nothing to say.
    """
    state, stage = _state(alive, waits=bool(waiting), failure=failure)
    return ServiceStatus(
        id=service,
        status=state,
        stage=stage,
        models_loaded=tuple(each.model for each in alive if each.state == "ready"),
        predictors=tuple(_predictor(each) for each in alive),
        queue=waiting,
        last_cold_start_ms=last_cold_start_ms,
        eta_ms=milliseconds(expected_wait) if state == "waking" else None,
        oldest_wait_ms=milliseconds(oldest_wait),
        expected_wait_ms=milliseconds(expected_wait) if waiting else None,
        quarantined=quarantined,
    )


def milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _state(
    alive: Sequence[Predictor], *, waits: bool, failure: str | None
) -> tuple[State, str | None]:
    ready = [each for each in alive if each.state == "ready"]
    if ready:
        return "awake", next((stage for each in ready if (stage := each.swapping())), None)
    starting = next((each for each in alive if each.state == "starting"), None)
    if starting is not None or waits:
        return "waking", "starting" if starting is None else starting.stage
    return ("asleep", None) if failure is None else ("failed", failure)


def _predictor(predictor: Predictor) -> PredictorStatus:
    return PredictorStatus(
        pid=predictor.pid,
        model=predictor.model,
        state=predictor.state,
        in_flight=predictor.in_flight,
        memory_bytes=_memory(predictor.pid),
        idle_seconds=round(predictor.idle_seconds(), 1),
        port=predictor.port,
        metrics_port=predictor.metrics_port,
        slots=predictor.slots,
        waiting=predictor.waiting,
    )


def _memory(pid: int | None) -> int:
    """Proportional share of memory: pages shared with the zygote count only in part."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
