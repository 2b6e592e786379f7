"""What the supervisor must know while it runs, told by whoever prepared everything."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from dormouse_control.supervisor.processes import ProcessSpec


@dataclass(frozen=True)
class Facts:
    """Paths are texts, because all of it is handed on as JSON.

    `log_handle` is the descriptor of the open log file; None: everything goes to the terminal.
    `certificate` is what callers must trust, if it is one that we made.
    """

    processes: tuple[ProcessSpec, ...]
    metrics_port: int
    log: str
    log_handle: int | None
    log_level: str
    processes_file: str
    first_administrator_file: str
    gateway_admin: str
    host: str
    port: int
    tls: bool
    public_url: str
    certificate: str | None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Facts":
        found = json.loads(text)
        found["processes"] = tuple(
            ProcessSpec(each["name"], tuple(each["arguments"]), each["metrics_port"])
            for each in found["processes"]
        )
        return cls(**found)

    @property
    def log_path(self) -> Path:
        return Path(self.log)
