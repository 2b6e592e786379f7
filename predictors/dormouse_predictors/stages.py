"""What the engine's thread does: told to the nest, and to callers who want to know."""

import asyncio
import os
from typing import Any  # what is told is JSON

from dormouse_predictors.control import Control
from dormouse_predictors.progress import Progress


class Stages:
    """`tell` and `swapped` may be called from any thread."""

    def __init__(self, control: Control, progress: Progress) -> None:
        self._control = control
        self._progress = progress
        self._loop = asyncio.get_running_loop()

    def tell(self, model: str, stage: str, percent: int | None) -> None:
        """See `Progress.note`."""
        self._loop.call_soon_threadsafe(self._say_stage, model, stage, percent)

    def swapped(self, model: str, load_ms: int) -> None:
        self._loop.call_soon_threadsafe(self._say_swapped, model, load_ms)

    def _say_stage(self, model: str, stage: str, percent: int | None) -> None:
        """The nest knows of one stage: on which we are working if we should die now."""
        self._progress.note(model, stage, percent)
        told: dict[str, Any] = {"stage": "ready", "percent": None, "pid": os.getpid()}
        foremost = self._progress.foremost()
        if foremost is not None:
            told |= {"stage": foremost[1].name, "percent": foremost[1].percent}
            if told["stage"] == "loading":
                told["model"] = foremost[0]
        self._control.send("stage", **told)

    def _say_swapped(self, model: str, load_ms: int) -> None:
        self._progress.note(model, "ready", None)
        self._progress.learn(model, load_ms)
        self._control.send("model", model=model, load_ms=load_ms)
