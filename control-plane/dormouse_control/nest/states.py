"""What the nest says of a service and its predictors."""

from collections.abc import Iterable, Mapping, Sequence

from dormouse_control.nest.predictor import Predictor
from dormouse_control.runtimes.base import PredictorStatus, ServiceStatus, State


def describe(
    service: str,
    alive: Sequence[Predictor],
    *,
    memory: Mapping[int, int],
    waiting: int,
    failure: str | None,
    quarantined: tuple[str, ...],
    oldest_wait: float | None,
    expected_wait: float | None,
    last_cold_start_ms: int | None,
) -> ServiceStatus:
    """`memory` by process, as `memory_of` has it; `failure` of the last wake; `oldest_wait` and
    `expected_wait`, until a predictor is ready, in seconds. None where there is nothing to say.
    """
    state, stage = _state(alive, waits=bool(waiting), failure=failure)
    return ServiceStatus(
        id=service,
        status=state,
        stage=stage,
        models_loaded=tuple(each.model for each in alive if each.state == "ready" and each.model),
        predictors=tuple(_predictor(each, memory) for each in alive),
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


def _predictor(predictor: Predictor, memory: Mapping[int, int]) -> PredictorStatus:
    return PredictorStatus(
        pid=predictor.pid,
        model=predictor.model,
        state=predictor.state,
        in_flight=predictor.in_flight,
        memory_bytes=0 if predictor.pid is None else memory.get(predictor.pid, 0),
        idle_seconds=round(predictor.idle_seconds(), 1),
        port=predictor.port,
        metrics_port=predictor.metrics_port,
        slots=predictor.slots,
        waiting=predictor.waiting,
    )


def memory_of(pids: Iterable[int]) -> dict[int, int]:
    """Bytes, each one's proportional share: pages shared with the zygote count only in part. Takes
    20 ms and more for each GiB that they have: not for the event loop.
    """
    return {pid: _memory(pid) for pid in pids}


def _memory(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
