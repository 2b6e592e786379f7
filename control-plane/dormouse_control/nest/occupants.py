"""Who has memory, as the memory handler keeps it, and as `dormouse.memory` is told of it."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from dormouse.memory import Place, Resident, State
from dormouse.needs import ALL_LAYERS
from dormouse_control.nest.inventory import Taken
from dormouse_control.nest.model_facts import ModelFacts

QUIET_SECONDS = 0.5
"""A predictor is idle so long after the last call was sent there: another may be on its way."""


class Occupant(Protocol):
    """What the handler looks at in a predictor: `nest.predictor.Predictor` is one."""

    @property
    def instance(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def state(self) -> str: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def gone(self) -> asyncio.Event: ...
    def idle_seconds(self) -> float: ...


@dataclass
class Held:
    """A place that is set aside. `taken` is measured while it loads, and known once it has."""

    occupant: Occupant
    facts: ModelFacts
    place: Place
    loading: bool = True
    taken: Taken | None = None


def resident(held: Held, *, kept: bool, reload_seconds: float) -> Resident:
    """As the decision sees it at this moment. `kept`: it is never to be ended for others."""
    taken, gpu = held.taken, held.place.gpu
    vram = taken.vram_mb if taken is not None else None
    ram_mb = taken.ram.private_mb if taken is not None else None
    vram_mb = vram.get(gpu, 0.0) if vram is not None and gpu is not None else None
    if held.loading:  # what is not known to be taken is still to come
        ram_mb, vram_mb = ram_mb or 0.0, vram_mb or 0.0
    return Resident(
        held.occupant.instance,
        _state(held, kept=kept),
        held.place,
        idle_seconds=held.occupant.idle_seconds(),
        reload_seconds=reload_seconds,
        taken_ram_mb=ram_mb,
        taken_vram_mb=vram_mb,
    )


def _state(held: Held, *, kept: bool) -> State:
    occupant = held.occupant
    if occupant.state == "draining":  # a call may take it minutes more
        return State.BUSY if occupant.in_flight else State.LEAVING
    if kept:
        return State.KEPT
    if occupant.state == "starting":
        return State.LOADING
    if occupant.in_flight or occupant.idle_seconds() < QUIET_SECONDS:
        return State.LOADING if held.loading else State.BUSY
    return State.IDLE


def model_mb(held: Held) -> float | None:
    """What the model takes, without what its process takes anyway; None if that is not known."""
    taken = held.taken
    if taken is None:
        return None
    place, need = held.place, held.facts.need()
    found = 0.0
    if place.gpu is not None:
        if taken.vram_mb is None:
            return None
        found += taken.vram_mb.get(place.gpu, 0.0) - need.driver_mb
    if place.gpu_layers != ALL_LAYERS:  # else what is in main memory is only on its way
        found += taken.ram.whole_mb - need.process_mb
    return max(0.0, found)
