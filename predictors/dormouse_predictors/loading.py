"""The model that a predictor is started for: nothing is answered before it is in memory."""

import asyncio
from typing import Any  # futures of anything

import structlog

from dormouse_predictors.errors import CallError, WeightsError
from dormouse_predictors.metrics import Metrics
from dormouse_predictors.resident import Resident
from dormouse_predictors.worker import Worker

_log = structlog.get_logger()


class StartFailed(Exception):
    """The predictor cannot serve; `code` and text go to the nest."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FirstLoad:
    """Loaded by the engine's thread (`run`), waited for on the event loop."""

    def __init__(self, model: str, resident: Resident, worker: Worker, metrics: Metrics) -> None:
        self._model = model
        self._resident = resident
        self._worker = worker
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._loaded: asyncio.Future[None] = self._loop.create_future()

    def run(self) -> None:
        try:
            ms = self._resident.ensure(self._model)
            self._metrics.load.labels(self._model).observe(ms / 1000)
            self._worker.woke(ms)
        except Exception as error:  # the thread must not die silently
            self._loop.call_soon_threadsafe(self._loaded.set_exception, error)
        else:
            self._loop.call_soon_threadsafe(self._loaded.set_result, None)

    async def wait(self, stop: asyncio.Event) -> bool:
        """Whether it is loaded; not if it was to `stop` before. Raises `StartFailed`."""
        stopping = asyncio.create_task(stop.wait())
        waited: set[asyncio.Future[Any]] = {self._loaded, stopping}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not self._loaded.done():
            return False
        try:
            self._loaded.result()
        except WeightsError as error:
            raise StartFailed("waking_failed", str(error)) from error
        except CallError as error:
            raise StartFailed(error.code, error.message) from error
        except Exception as error:
            _log.exception("model not loaded", model=self._model)
            raise StartFailed("waking_failed", f"{type(error).__name__}: {error}") from error
        return True
