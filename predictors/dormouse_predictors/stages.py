"""What the engine's thread does: told to the nest, and to callers who want to know."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any  # what is told is JSON

from dormouse_predictors.control import Control
from dormouse_predictors.progress import Progress


class Stages:
    """`tell` and `swapped` may be called from any thread."""

    def __init__(self, control: Control, progress: Progress) -> None:
        self._control = control
        self._progress = progress
        self._loop = asyncio.get_running_loop()

    def tell(self, stage: str, percent: int | None, model: str | None) -> None:
        """`model`: on which we are working if we should die now."""
        told = {"stage": stage, "percent": percent, "pid": os.getpid()}
        if model is not None:
            told["model"] = model
        self._loop.call_soon_threadsafe(self._say_stage, told)

    def swapped(self, model: str, load_ms: int) -> None:
        self._loop.call_soon_threadsafe(self._say_swapped, model, load_ms)

    def _say_stage(self, told: Mapping[str, Any]) -> None:
        self._progress.note(told["stage"], told["percent"])
        self._control.send("stage", **told)

    def _say_swapped(self, model: str, load_ms: int) -> None:
        self._progress.note("ready", None)
        self._control.send("model", model=model, load_ms=load_ms)
