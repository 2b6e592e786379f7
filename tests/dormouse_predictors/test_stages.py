"""What the nest is told when several models are on their way at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from dormouse_predictors.progress import Progress
from dormouse_predictors.stages import Stages

Script = Callable[[Stages, list[Any]], Awaitable[None]]


def run(script: Script) -> None:
    async def main() -> None:
        heard: list[Any] = []

        class Control:
            def send(self, event: str, **values: Any) -> None:
                names = ("stage", "percent", "model")
                heard.append((event, *(values.get(name) for name in names)))

        control: Any = Control()
        await script(Stages(control, Progress()), heard)

    asyncio.run(main())


def test_what_is_loaded_comes_before_what_is_downloaded_and_in_the_end_it_is_ready() -> None:
    async def script(stages: Stages, heard: list[Any]) -> None:
        stages.tell("large", "downloading", 10)
        stages.tell("other", "loading", None)
        stages.tell("large", "downloading", 100)
        stages.tell("other", "ready", None)
        stages.tell("large", "ready", None)
        await asyncio.sleep(0)
        assert heard == [
            ("stage", "downloading", 10, None),
            ("stage", "loading", None, "other"),
            ("stage", "loading", None, "other"),
            ("stage", "downloading", 100, None),
            ("stage", "ready", None, None),
        ]

    run(script)


def test_a_swap_is_told_as_such() -> None:
    async def script(stages: Stages, heard: list[Any]) -> None:
        stages.tell("other", "loading", None)
        stages.swapped("other", 70)
        await asyncio.sleep(0)
        assert heard[1:] == [("model", None, None, "other")]

    run(script)
