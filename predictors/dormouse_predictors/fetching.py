"""Fetches weights beside the engine: calls for models that are there go on meanwhile."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from dormouse_predictors.errors import CallError, WeightsError
from dormouse_predictors.resident import Resident

_log = structlog.get_logger()


class Fetching:
    def __init__(self, resident: Resident) -> None:
        self._resident = resident
        self._running: dict[str, asyncio.Task[None]] = {}

    def fetch(self, model: str) -> Coroutine[Any, Any, None] | None:
        """What returns once the model's weights are on this machine, or raises `CallError` (503);
        None if they are."""
        return None if self._resident.fetched(model) else self._fetched(model)

    async def _fetched(self, model: str) -> None:
        task = self._running.get(model)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(self._resident.fetch, model))
            self._running[model] = task
            task.add_done_callback(lambda _: self._over(model))
        try:
            # Somebody who hangs up must not end it for the others.
            await asyncio.shield(task)
        except WeightsError as error:
            _log.error("weights not fetched", model=model, error=str(error))
            text = f"The model {model} could not be loaded: {error}"
            raise CallError(503, "waking_failed", text, retry_after=10) from error

    def _over(self, model: str) -> None:
        self._running.pop(model, None)
        self._resident.fetch_over(model)
