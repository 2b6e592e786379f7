"""Which processes make up the platform on one machine, and in which order they stop. Pure."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever keeps the processes has no settings
    from dormouse_control.settings import Settings

# In the order of their metrics ports.
PROCESSES = ("control-plane", "authorizer", "nest", "gateway", "supervisor")


@dataclass(frozen=True)
class ProcessSpec:
    """`metrics_port` is where the process serves its metrics."""

    name: str
    arguments: tuple[str, ...]
    metrics_port: int


def process_specs(settings: "Settings", metrics_ports: dict[str, int]) -> list[ProcessSpec]:
    """In the order they stop: whoever is called goes before whoever is needed to finish calls."""
    python = (sys.executable, "-P", "-m", "dormouse_control")
    authorizer = (
        "authorizer",
        "--listen",
        str(settings.authorizer_socket),
        "--control-plane",
        str(settings.internal_socket),
        "--nest",
        str(settings.nest_socket),
        "--meters",
        str(settings.meters_socket),
        "--decisions",
        str(settings.decisions_file),
        "--keys",
        str(settings.keys_folder),
        "--metrics-port",
        str(metrics_ports["authorizer"]),
        "--log-level",
        settings.log_level,
    )
    arguments = {
        "gateway": (*python, "gateway"),
        "authorizer": (*python, *authorizer),
        "nest": (*python, "nest"),
        "control-plane": (*python, "control-plane"),
    }
    return [ProcessSpec(name, found, metrics_ports[name]) for name, found in arguments.items()]
