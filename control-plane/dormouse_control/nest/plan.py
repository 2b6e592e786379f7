"""What the nest must know of a service."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plan:
    """`config` goes to the zygote as it is. `keep_warm` are windows as `dormouse.windows` reads
    them: inside one at least one predictor is awake, and `min_replicas` always. `hold_seconds` is
    how long a call waits at most.
    """

    service: str
    first_model: str
    idle_seconds: float
    wake_seconds: float
    queue_length: int
    config: dict[str, Any]
    gpus: int = 0
    min_replicas: int = 0
    max_replicas: int = 1
    keep_warm: tuple[str, ...] = ()
    ageing_seconds: float = 30.0
    hold_seconds: float = 600.0
