"""Weights are fetched beside the engine: once for all who wait, and nobody else is held up."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from dormouse.catalog import Model
from dormouse_predictors.errors import CallError, WeightsError
from dormouse_predictors.fetching import Fetching
from dormouse_predictors.placing import Placement
from dormouse_predictors.resident import Resident


class SlowWeights:
    """Resolves when told to; fails as often as `failures` says."""

    def __init__(self, failures: int = 0) -> None:
        self.go = threading.Event()
        self.asked = 0
        self.failures = failures

    def resolve(self, model: Model, progress: Any) -> Path:
        self.asked += 1
        progress(18)
        assert self.go.wait(5)
        if self.failures:
            self.failures -= 1
            raise WeightsError("https://host/x.gguf: answered 404")
        return model.folder / "w"


def fetching(tmp_path: Path, spec: Any, weights: SlowWeights) -> tuple[Fetching, list[Any]]:
    stages: list[Any] = []
    models = {"tiny": Model("tiny", tmp_path, spec(source="builtin:w"))}
    engine: Any = None
    found: Any = weights
    resident = Resident(
        engine,
        models,
        found,
        threads=1,
        stage=lambda *stage: stages.append(stage),
        place=lambda _: Placement(None, 0),
    )
    return Fetching(resident), stages


def test_all_who_wait_share_one_fetch_and_later_calls_need_none(
    tmp_path: Path, model_spec: Any
) -> None:
    async def script() -> None:
        weights = SlowWeights()
        fetch, stages = fetching(tmp_path, model_spec, weights)
        waiting = [asyncio.ensure_future(fetch.fetch("tiny")) for _ in range(5)]
        await asyncio.sleep(0.05)
        waiting[0].cancel()  # somebody hangs up
        weights.go.set()
        await asyncio.gather(*waiting[1:])
        assert fetch.fetch("tiny") is None
        assert weights.asked == 1
        assert stages == [("tiny", "downloading", 18), ("tiny", "ready", None)]

    asyncio.run(script())


def test_a_failure_is_told_to_all_and_may_be_tried_again(tmp_path: Path, model_spec: Any) -> None:
    async def script() -> None:
        weights = SlowWeights(failures=1)
        weights.go.set()
        fetch, stages = fetching(tmp_path, model_spec, weights)
        with pytest.raises(CallError) as refused:
            await fetch.fetch("tiny")
        assert (refused.value.status, refused.value.code) == (503, "waking_failed")
        assert "answered 404" in refused.value.message
        assert stages[-1] == ("tiny", "ready", None)
        await fetch.fetch("tiny")
        assert weights.asked == 2

    asyncio.run(script())
