"""Reads settings and catalogue for the nest and becomes the nest, under the same process id.

A process of its own for its memory, as the supervisor: reading needs pydantic, the nest does not.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

from dormouse.catalog import Catalog, read_catalog
from dormouse_control.nest.facts import Facts
from dormouse_control.nest.model_facts import model_facts
from dormouse_control.nest.needs import confinement
from dormouse_control.nest.plans import plans
from dormouse_control.settings import Settings


def main() -> NoReturn:
    settings = Settings()
    path = write(settings, read_catalog(settings.services))
    nest = ["-P", "-m", "dormouse_control.nest", str(path)]
    os.execv(sys.executable, [sys.executable, *nest])  # noqa: S606  no shell


def write(settings: Settings, catalog: Catalog) -> Path:
    """The file with the facts: what a process is started with may not be long, and everybody can
    read it. Raises OSError."""
    path = settings.run_folder / "nest.json"
    unborn = path.with_suffix(".new")
    unborn.touch(mode=0o600)
    unborn.write_text(facts(settings, catalog).to_json())
    unborn.rename(path)
    return path


def facts(settings: Settings, catalog: Catalog) -> Facts:
    return Facts(
        plans=tuple(plans(settings, catalog)),
        models=tuple(model_facts(catalog, settings.profile)),
        socket=str(settings.nest_socket),
        internal_socket=str(settings.internal_socket),
        spool=str(settings.spool_folder),
        cold_starts=str(settings.cold_starts_file),
        sizes=str(settings.home / "sizes.json"),
        weights=str(settings.weights),
        metrics_port=settings.process_metrics_port(2),
        log_level=settings.log_level,
        confinement=confinement(settings, catalog),
        zygotes=settings.zygotes,
    )
