"""What a model takes of GPU and main memory once it is loaded, from the facts of its .ini.

Pure; sizes in MiB. What the .ini does not say is estimated so that it is rather too much.
"""

import math
from dataclasses import dataclass, replace
from typing import Protocol

ALL_LAYERS = -1
"""As engines count layers on a GPU: every one, and what comes after the last."""

PROCESS_MB = 64.0
"""Main memory that a predictor takes apart from its model."""

DRIVER_MB = 512.0
"""GPU memory that a process takes for the driver and for scratch, apart from its model."""


PARALLEL = 8
"""Calls that one process works on at the same time, each with a context, if memory allows."""

GROWTH = 8
"""A context that grows moves from one an eighth as large, which goes only after that."""


@dataclass(frozen=True)
class Abilities:
    """What an engine can do: use a GPU, put only part of a model there; whether a model keeps a
    cache of the tokens that it has read (keys and values, "KV") for a whole context."""

    gpu: bool
    splits: bool
    keeps_context: bool


ENGINES = {
    "llama": Abilities(gpu=True, splits=True, keeps_context=True),
    "transformers-embeddings": Abilities(gpu=False, splits=False, keeps_context=False),
}


@dataclass(frozen=True)
class Need:
    """Layers are taken to be of one size, and to have the cache of their own tokens with them.

    One context it must have; up to `contexts`, as many calls can be worked on at the same time.
    `limit_mb` is what its process may take of main memory at most, whatever the machine has.
    """

    weights_mb: float
    context_mb: float = 0.0
    layers: int = 1
    gpu: bool = False
    splits: bool = False
    process_mb: float = PROCESS_MB
    driver_mb: float = DRIVER_MB
    contexts: int = 1
    limit_mb: float = math.inf

    @property
    def model_mb(self) -> float:
        """Wherever it is placed."""
        return self.weights_mb + self.context_mb

    def vram_mb(self, gpu_layers: int) -> float:
        """With so many layers on a GPU."""
        if gpu_layers == 0:
            return 0.0
        return self.model_mb * self._layers(gpu_layers) / self.layers + self.driver_mb

    def ram_mb(self, gpu_layers: int) -> float:
        """With so many layers on a GPU."""
        rest = self.layers - self._layers(gpu_layers)
        return self.model_mb * rest / self.layers + self.process_mb

    def at_least(self, model_mb: float) -> "Need":
        """The same, if loading it took more than is stated."""
        more = model_mb - self.model_mb
        return replace(self, weights_mb=self.weights_mb + more) if more > 0 else self

    def having(self, contexts: int) -> "Need":
        """The same, with so many contexts and what growing takes."""
        if contexts == 1:
            return self
        return replace(self, context_mb=self.context_mb * contexts * (1 + 1 / GROWTH))

    def without_gpu(self) -> "Need":
        return replace(self, gpu=False)

    def limited(self, limit_mb: float) -> "Need":
        return replace(self, limit_mb=limit_mb)

    def _layers(self, gpu_layers: int) -> int:
        return self.layers if gpu_layers == ALL_LAYERS else gpu_layers


class ModelNumbers(Protocol):
    """Fields of an .ini, as `catalog.ModelSpec` has them."""

    @property
    def size_mb(self) -> float: ...
    @property
    def layers(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def parameters(self) -> int: ...
    @property
    def kv_mb_per_1000_tokens(self) -> float | None: ...


def need_of(engine: str, model: ModelNumbers, *, contexts: int = 1) -> Need:
    """With at most so many contexts. Raises KeyError for an engine not in `ENGINES`."""
    abilities = ENGINES[engine]
    per_1000 = model.kv_mb_per_1000_tokens
    if per_1000 is None:
        per_1000 = estimated_kv_mb_per_1000_tokens(model.layers, model.parameters)
    return Need(
        weights_mb=model.size_mb,
        context_mb=model.context * per_1000 / 1000 if abilities.keeps_context else 0.0,
        layers=model.layers,
        gpu=abilities.gpu,
        splits=abilities.splits,
        contexts=contexts if abilities.keeps_context else 1,
    )


def contexts_within(memory: float, context: float, most: int | None = None) -> int:
    """How many contexts of this size have room, in the same unit: at least one, and not more than
    `most` (None: `PARALLEL`)."""
    limit = PARALLEL if most is None else most
    if context <= 0:
        return limit
    return max(1, min(limit, int(memory / (context * (1 + 1 / GROWTH)))))


def estimated_kv_mb_per_1000_tokens(layers: int, parameters: int) -> float:
    """For a transformer without sharing of keys and values: exact to a few percent for Llama 2 7B.

    A layer of width w has about 12 w² weights (4 for attention, 8 for what follows) and keeps for
    each token a key and a value of w numbers, two bytes each. Models whose heads share keys and
    values (most since 2023) keep 4 to 8 times less: their .ini should say so.
    """
    width = math.sqrt(parameters / (12 * layers))
    return 2 * 2 * layers * width * 1000 / 2**20
