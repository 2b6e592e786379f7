"""What the nest must know while it runs, told by whoever read settings and catalogue."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from dormouse_control.nest.confinement import Confinement
from dormouse_control.nest.model_facts import ModelFacts
from dormouse_control.nest.plan import Plan
from dormouse_control.nest.zygotes import When


@dataclass(frozen=True)
class Facts:
    """Paths are texts, because all of it is handed on as JSON. `weights` are the downloads."""

    plans: tuple[Plan, ...]
    models: tuple[ModelFacts, ...]
    socket: str
    internal_socket: str
    spool: str
    cold_starts: str
    sizes: str
    weights: str
    metrics_port: int
    log_level: str
    confinement: Confinement
    zygotes: When = "start"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Facts":
        found = json.loads(text)
        found["confinement"] = Confinement.from_json(found["confinement"])
        found["models"] = tuple(ModelFacts(**each) for each in found["models"])
        found["plans"] = tuple(_plan(each) for each in found["plans"])
        return cls(**found)


def _plan(found: dict[str, Any]) -> Plan:
    return Plan(**{**found, "keep_warm": tuple(found["keep_warm"])})
