"""A context that grows while calls run: nobody's answer changes, nothing that was kept is lost."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama_cpp
import pytest

from dormouse_predictors.base import (
    Computation,
    GenerateRequest,
    Generation,
    LoadableModel,
    Meter,
    Sampling,
)
from dormouse_predictors.engines.llama import LlamaEngine
from dormouse_predictors.engines.llama_context import lengths
from dormouse_predictors.errors import CallError

CHAT = Path(__file__).parents[3] / "services" / "chat" / "dormouse-chat" / "dormouse-chat.gguf"
SHORT, WHOLE = 256, 2048
LONG = "Everything about dormice and their nests. " * 40
"""More tokens than the short context has room for."""


def request(text: str, tokens: int = 12, **changes: Any) -> GenerateRequest:
    asked = GenerateRequest((text,), max_tokens=tokens, sampling=Sampling(temperature=0))
    return replace(asked, **changes)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long a sequence of each context is that is made from now on."""
    found: list[int] = []
    really = llama_cpp.llama_init_from_model

    def noted(model: Any, params: Any) -> Any:
        found.append(params.n_ctx // params.n_seq_max)
        return really(model, params)

    monkeypatch.setattr(llama_cpp, "llama_init_from_model", noted)
    return found


@pytest.fixture
def new(model_spec: Any) -> Iterator[Callable[[], LlamaEngine]]:
    """Makes engines with the starter model, as they are after a wake."""
    engines: list[LlamaEngine] = []

    def engine() -> LlamaEngine:
        found = LlamaEngine()
        spec = model_spec(context=WHOLE)
        found.load(LoadableModel("dormouse-chat", CHAT, spec), threads=1)
        engines.append(found)
        return found

    yield engine
    for each in engines:
        each.unload()


def started(engine: LlamaEngine, asked: GenerateRequest, owner: str = "ada") -> Computation:
    call = Computation(asked, Meter(), owner)
    engine.begin(call)
    return call


def finish(engine: LlamaEngine, *calls: Computation) -> list[str]:
    while not all(call.ended for call in calls):
        engine.step()
    return [text(call) for call in calls]


def text(call: Computation) -> str:
    if call.error is not None:
        raise call.error
    return "|".join(choice.text for choice in Generation.of(call.pieces).choices)


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (100, [100]),
        (2047, [2047]),  # an eighth would be less than a sequence can have
        (2048, [256, 2048]),
        (4100, [512, 4100]),
        (32768, [512, 4096, 32768]),
    ],
)
def test_it_grows_to_the_eightfold_until_it_is_whole(most: int, expected: list[int]) -> None:
    assert lengths(most) == expected


def test_it_is_as_long_as_calls_need_it(made: list[int], new: Callable[[], LlamaEngine]) -> None:
    engine = new()
    finish(engine, *(started(engine, request(f"number {at}"), f"{at}") for at in range(8)))
    assert made == [SHORT]
    finish(engine, started(engine, request(LONG)))
    finish(engine, started(engine, request("again")), started(engine, request(LONG), "bob"))
    assert made == [SHORT, WHOLE]


def test_calls_that_run_go_on_as_if_nothing_had_happened(
    made: list[int], new: Callable[[], LlamaEngine]
) -> None:
    asked = [
        request("The nest is", 60),
        request("To sleep", 60, sampling=Sampling(temperature=1.5, seed=7)),
        request("A zygote", 20, n=3, logprobs=2),
    ]
    calm = new()
    alone = [finish(calm, started(calm, each, str(at)))[0] for at, each in enumerate(asked)]
    long = finish(calm, started(calm, request(LONG, 30)))
    engine = new()
    calls = [started(engine, each, str(at)) for at, each in enumerate(asked)]
    for _ in range(12):
        engine.step()
    assert all(call.meter.completion_tokens > 0 and not call.ended for call in calls)
    made.clear()
    calls.append(started(engine, request(LONG, 30), "late"))
    assert finish(engine, *calls) == alone + long
    assert made == [WHOLE]


def test_an_answer_may_outgrow_it(made: list[int], new: Callable[[], LlamaEngine]) -> None:
    forbid_end = {"logit_bias": dict.fromkeys(range(4), -100.0)}
    asked = request("x", SHORT + 40, sampling=Sampling(temperature=0, **forbid_end))
    grown = new()
    finish(grown, started(grown, request(LONG)))
    expected = finish(grown, started(grown, asked, "bob"))
    made.clear()
    engine = new()
    call = started(engine, asked)
    assert finish(engine, call) == expected
    assert call.meter.completion_tokens == SHORT + 40
    assert made == [SHORT, WHOLE]


def test_what_was_kept_is_kept_for_its_owner_alone(
    new: Callable[[], LlamaEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, kept = new(), request("A secret that only one owner knows. " * 4, 1)
    first = started(engine, kept, "ada")
    finish(engine, first)
    finish(engine, started(engine, request(LONG, 1), "bob"))
    read: list[int] = []
    really = llama_cpp.llama_decode

    def counted(ctx: Any, batch: Any) -> int:
        read.append(batch.n_tokens)
        return int(really(ctx, batch))

    monkeypatch.setattr(llama_cpp, "llama_decode", counted)
    again, other = started(engine, kept, "ada"), None
    assert finish(engine, again) == [text(first)]
    assert sum(read) == 2
    read.clear()
    other = started(engine, kept, "eve")
    assert finish(engine, other) == [text(first)]
    assert sum(read) == other.meter.prompt_tokens > 2


def without_memory(patch: pytest.MonkeyPatch, longer_than: int) -> None:
    really = llama_cpp.llama_init_from_model

    def refused(model: Any, params: Any) -> Any:
        long = params.n_ctx // params.n_seq_max > longer_than
        return None if long else really(model, params)

    patch.setattr(llama_cpp, "llama_init_from_model", refused)


def test_where_it_cannot_grow_only_the_call_that_needs_it_ends(
    new: Callable[[], LlamaEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new()
    expected = finish(engine, started(engine, request("The nest is", 40), "before"))
    running = started(engine, request("The nest is", 40), "ada")
    for _ in range(5):
        engine.step()
    with monkeypatch.context() as patch:
        without_memory(patch, SHORT)
        long = started(engine, request(LONG), "bob")
        assert finish(engine, running) == expected
    assert isinstance(long.error, CallError)
    assert (long.error.status, long.error.code) == (503, "insufficient_memory")
    assert long.meter.completion_tokens == 0
    assert finish(engine, started(engine, request(LONG, 3), "bob"))  # once there is memory


def test_if_nothing_is_left_all_calls_end_and_the_next_ones_are_answered(
    new: Callable[[], LlamaEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new()
    expected = finish(engine, started(engine, request("The nest is"), "before"))
    calls = [started(engine, request("The nest is"), "ada"), started(engine, request(LONG), "bob")]
    with monkeypatch.context() as patch:
        without_memory(patch, 0)
        with pytest.raises(RuntimeError, match="lost"):
            engine.step()
    assert all(call.error is not None for call in calls)
    assert finish(engine, started(engine, request("The nest is"), "ada")) == expected
