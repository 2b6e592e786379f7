"""Where a model is loaded: as the nest says (`control.py`), or, without one, as decided here.

Alone, a predictor looks at the memory of its machine or container, and nobody is there to evict.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any  # the module pynvml has no types

from dormouse.catalog import Model
from dormouse.gpus import NoDriver, need_here, open_nvml
from dormouse.machine import read, shares
from dormouse.memory import Place, Refuse, Resident, State, decide
from dormouse.needs import PARALLEL, Need
from dormouse_predictors.errors import CallError


@dataclass(frozen=True)
class Placement:
    """`gpu` is None for none, else its number among the visible ones; `gpu_layers`: -1 is all.

    `contexts` are how many there is room for; None: nobody has looked.
    """

    gpu: int | None
    gpu_layers: int
    contexts: int | None = None


class Alone:
    """Decides for a predictor without a nest. From one thread at a time."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._asked = False
        self._loaded: Place | None = None

    def place(self, model: Model, engine: str) -> Placement:
        """What is loaded by now gives way. Raises `CallError` (503). Blocks for milliseconds, the
        first time for seconds if there are GPUs."""
        need = need_here(engine, model.spec, contexts=model.spec.parallel or PARALLEL)
        machine = read(nvml=self._driver(need))
        decision = decide(need, machine, instead_of=self._own())
        if not isinstance(decision, Place):
            assert isinstance(decision, Refuse)  # there is nobody to evict
            raise insufficient_memory(f"There is no place for {model.id}. {decision.message}", None)
        self._loaded = decision
        return Placement(decision.gpu, decision.gpu_layers, decision.contexts)

    def _own(self) -> Resident | None:
        if self._loaded is None:
            return None
        own = shares("self")
        taken = min(own.private_mb, self._loaded.ram_mb) if own is not None else None
        return Resident("own", State.BUSY, self._loaded, taken_ram_mb=taken)

    def _driver(self, need: Need) -> Any:
        if need.gpu and not self._asked:
            self._asked = True
            try:
                self._nvml = open_nvml()
            except NoDriver:
                self._nvml = None
        return self._nvml


class Places:
    """For the engine's thread. The `first` place was found before we were started, if by somebody;
    later ones are asked for on the event loop."""

    def __init__(
        self, ask: Callable[[Model], Coroutine[Any, Any, Placement]], first: Placement | None
    ) -> None:
        self._ask = ask
        self._first = first
        self._loop = asyncio.get_running_loop()

    def find(self, model: Model) -> Placement:
        """Raises `CallError` (503)."""
        first, self._first = self._first, None
        if first is not None:
            return first
        return asyncio.run_coroutine_threadsafe(self._ask(model), self._loop).result()


def insufficient_memory(message: str, retry_after: int | None) -> CallError:
    return CallError(503, "insufficient_memory", message, retry_after=retry_after)
