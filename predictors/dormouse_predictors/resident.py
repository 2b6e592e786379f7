"""Which of the service's models is in memory. Used by the engine's thread only."""

import time
from collections.abc import Callable, Mapping

from dormouse.catalog import Model
from dormouse_predictors.base import Engine, LoadableModel
from dormouse_predictors.weights import Progress, Weights

Stage = Callable[[str, int | None], None]
"""Told what a load is doing: downloading or loading, and how much of it is done in percent."""


class Resident:
    def __init__(
        self,
        engine: Engine,
        models: Mapping[str, Model],
        weights: Weights,
        *,
        threads: int,
        stage: Stage,
    ) -> None:
        self.engine = engine
        self._models = models
        self._weights = weights
        self._threads = threads
        self._stage = stage
        self.loaded: str | None = None

    def ensure(self, model_id: str) -> int:
        """Have the model in memory; milliseconds that took. Raises `WeightsError`.

        Weights are fetched before the present model is given up.
        """
        if self.loaded == model_id:
            return 0
        start = time.monotonic()
        model = self._models[model_id]
        path = self._weights.resolve(model, self._progress())
        self._stage("loading", None)
        self.unload()
        self.engine.load(LoadableModel(model.id, path, model.spec), threads=self._threads)
        self.loaded = model_id
        return int((time.monotonic() - start) * 1000)

    def has(self, model_id: str) -> bool:
        return self.loaded == model_id

    def unload(self) -> None:
        self.loaded = None
        self.engine.unload()

    def _progress(self) -> Progress:
        return lambda percent: self._stage("downloading", percent)
