"""Which of the service's models is in memory. All but `fetch` is for the engine's thread."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from dormouse.catalog import Model
from dormouse_predictors.base import MEMORY_BYTES, Engine, LoadableModel
from dormouse_predictors.placing import Placement
from dormouse_predictors.weights import Progress, Weights

Stage = Callable[[str, str, int | None], None]
"""Told what is done to which model: downloading or loading, and how much of it is done in percent;
"ready" when it is over, but for a load that went well, which is told otherwise."""


class Resident:
    """`memory_bytes` is what model and calls may take together. `place` says where a model goes
    in place of the one that is loaded; raises `CallError` if it cannot.
    """

    def __init__(
        self,
        engine: Engine,
        models: Mapping[str, Model],
        weights: Weights,
        *,
        threads: int,
        stage: Stage,
        place: Callable[[Model], Placement],
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.engine = engine
        self._models = models
        self._weights = weights
        self._threads = threads
        self._stage = stage
        self._place = place
        self._memory_bytes = memory_bytes
        self._paths: dict[str, Path] = {}
        self.loaded: str | None = None
        self.loading: str | None = None

    def ensure(self, model_id: str) -> int:
        """Have the model in memory; milliseconds that took. Raises `WeightsError`, `CallError`.

        Weights are fetched, and a place is found, before the present model is given up.
        """
        if self.loaded == model_id:
            return 0
        start = time.monotonic()
        try:
            self.fetch(model_id)
            self._load(self._models[model_id])
        except BaseException:
            self.loading = None
            self._stage(model_id, "ready", None)
            raise
        self.loaded, self.loading = model_id, None
        return int((time.monotonic() - start) * 1000)

    def _load(self, model: Model) -> None:
        placed = self._place(model)
        self.loading = model.id
        self._stage(model.id, "loading", None)
        self.unload()
        left = max(0, self._memory_bytes - int(model.spec.size_mb * 1024 * 1024))
        loadable = LoadableModel(
            model.id,
            self._paths[model.id],
            model.spec,
            left,
            gpu=placed.gpu,
            gpu_layers=placed.gpu_layers,
            contexts=placed.contexts,
        )
        self.engine.load(loadable, threads=self._threads)

    def fetch(self, model_id: str) -> None:
        """Have the model's weights on this machine. From any thread; raises `WeightsError`."""
        if model_id not in self._paths:
            model = self._models[model_id]
            self._paths[model_id] = self._weights.resolve(model, self._progress(model_id))

    def fetched(self, model_id: str) -> bool:
        return model_id in self._paths

    def fetch_over(self, model_id: str) -> None:
        """Its weights are here or will not come, and perhaps nobody wants them any more."""
        if self.loading != model_id:
            self._stage(model_id, "ready", None)

    def context(self, model_id: str) -> int:
        """Tokens of prompt and answer together."""
        return self._models[model_id].spec.context

    def has(self, model_id: str) -> bool:
        return self.loaded == model_id

    def unload(self) -> None:
        self.loaded = None
        self.engine.unload()

    def _progress(self, model_id: str) -> Progress:
        return lambda percent: self._stage(model_id, "downloading", percent)
