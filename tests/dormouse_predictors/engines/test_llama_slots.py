"""Several calls at once on a real model: each has its own answer, and none sees another's."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama_cpp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dormouse_predictors.base import (
    Computation,
    GenerateRequest,
    Generation,
    LoadableModel,
    Meter,
    Sampling,
)
from dormouse_predictors.engines import llama_answers
from dormouse_predictors.engines.llama import LlamaEngine
from dormouse_predictors.engines.llama_context import BATCH, LlamaContext
from dormouse_predictors.engines.llama_slots import common
from dormouse_predictors.engines.llama_turns import LEAST, PATIENCE, Pace, Slot, shares
from dormouse_predictors.errors import Cancelled

CHAT = Path(__file__).parents[3] / "services" / "chat" / "dormouse-chat" / "dormouse-chat.gguf"
GREEDY = Sampling(temperature=0)


def request(text: str, tokens: int = 12, **changes: Any) -> GenerateRequest:
    return replace(GenerateRequest((text,), max_tokens=tokens, sampling=GREEDY), **changes)


@pytest.fixture(scope="module")
def chat(model_spec: Any) -> Iterator[LlamaEngine]:
    """The starter model: its weights are quantized, as those of most are."""
    engine = LlamaEngine()
    engine.load(LoadableModel("dormouse-chat", CHAT, model_spec(context=512)), threads=1)
    yield engine
    engine.unload()


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


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens the model is given each time, from now on."""
    found: list[int] = []
    really = llama_cpp.llama_decode

    def counted(ctx: Any, batch: Any) -> int:
        found.append(batch.n_tokens)
        return int(really(ctx, batch))

    monkeypatch.setattr(llama_cpp, "llama_decode", counted)
    return found


ASKED = [
    request("The nest is", 30),
    request("A zygote", 7, n=2),
    request("Who pays for a call? " * 5, 20),
    request("x", 3, logprobs=2),
    request("To sleep", 25, sampling=Sampling(temperature=1.5, seed=7)),
    request("One", 9, prompts=("One", "Two words")),
    request("Stop at the first blank", 20, stop=(" ",)),
    request("Say it", 11, echo=True),
]


def test_eight_calls_at_once_have_the_answers_that_each_has_alone(chat: LlamaEngine) -> None:
    assert chat.parallel == 8
    alone = [finish(chat, started(chat, each, f"owner {at}"))[0] for at, each in enumerate(ASKED)]
    assert len(set(alone)) == 8
    together = [started(chat, each, f"other {at}") for at, each in enumerate(ASKED)]
    assert finish(chat, *together) == alone
    assert [call.meter.completion_tokens > 0 for call in together] == [True] * 8


def test_calls_join_and_leave_while_others_go_on(chat: LlamaEngine) -> None:
    alone = [finish(chat, started(chat, each, f"a{at}"))[0] for at, each in enumerate(ASKED)]
    calls, waiting = list[Computation](), list(enumerate(ASKED))
    while waiting or not all(call.ended for call in calls):
        if waiting and sum(not call.ended for call in calls) < 3:
            at, asked = waiting.pop(0)
            calls.append(started(chat, asked, f"b{at}"))
        chat.step()
    assert [text(call) for call in calls] == alone


def test_they_are_read_together(chat: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [started(chat, request(f"number {at}", 20), f"owner {at}") for at in range(8)]
    read = reads(monkeypatch)
    finish(chat, *calls)
    assert max(read[8:]) == 8  # a token of each
    assert len(read) < 8 + 25  # and not 8 * 20


def test_only_the_same_owner_gains_by_what_was_read(
    chat: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, read = request("Everything about dormice. " * 12, 1), reads(monkeypatch)
    costs = []
    for owner in ("ada", "ada", "bob", "ada", "bob"):
        read.clear()
        call = started(chat, prompt, f"{owner} of this test")
        finish(chat, call)
        costs.append(sum(read))
    whole = call.meter.prompt_tokens
    assert whole > 2 * LEAST
    assert costs == [whole, 2, whole, 2, 2]


def test_a_longer_conversation_costs_only_what_is_new(
    chat: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = "Everything about dormice. " * 10
    first = started(chat, request(begin, 1), "eve")
    finish(chat, first)
    read = reads(monkeypatch)
    second = started(chat, request(begin + "And about nests, too, please.", 1), "eve")
    finish(chat, second)
    assert sum(read) < second.meter.prompt_tokens - first.meter.prompt_tokens + 5
    fresh = started(chat, second.request, "somebody who never asked")  # type: ignore[arg-type]
    assert finish(chat, fresh) == [text(second)]


def test_a_model_that_cannot_go_back_keeps_what_it_reads_then(
    chat: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with sliding windows, or recurrent models: it reads all again, and goes on from there."""
    begin = "What a model cannot forget in part it forgets. " * 6
    finish(chat, started(chat, request(begin + "One end.", 1), "ann"))
    monkeypatch.setattr(LlamaContext, "forget_after", lambda *_: False)
    read = reads(monkeypatch)
    second = started(chat, request(begin + "Another", 1), "ann")
    finish(chat, second)
    assert sum(read) == second.meter.prompt_tokens
    read.clear()
    third = started(chat, request(begin + "Another end, and more.", 1), "ann")
    finish(chat, third)
    assert sum(read) <= third.meter.prompt_tokens - second.meter.prompt_tokens + 2


def test_what_was_read_for_one_is_gone_when_the_slot_is_anothers(
    chat: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = request("A secret that only one owner knows. " * 6, 1)
    finish(chat, started(chat, prompt, "first"))
    for at in range(8):  # all slots are given to others
        finish(chat, started(chat, request(f"unlike {at}", 1), f"another {at}"))
    read = reads(monkeypatch)
    again = started(chat, prompt, "first")
    finish(chat, again)
    assert sum(read) == again.meter.prompt_tokens


def test_a_defect_in_one_call_is_not_one_of_the_others(
    chat: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = finish(chat, started(chat, request("The nest is", 10), "alone"))
    really = llama_answers.TextStream

    class Broken(really):  # type: ignore[valid-type, misc]
        def push(self, *args: Any) -> Any:
            if self._stop:
                raise RuntimeError("a defect")
            return super().push(*args)

    monkeypatch.setattr(llama_answers, "TextStream", Broken)
    bad = started(chat, request("breaks", 10, stop=("!",)), "bad")
    good = started(chat, request("The nest is", 10), "good")
    assert finish(chat, good) == expected
    assert isinstance(bad.error, RuntimeError)


def test_a_model_that_fails_fails_all_and_then_works_again(
    chat: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = finish(chat, started(chat, request("The nest is", 10), "before"))
    calls = [started(chat, request("The nest is", 10), f"owner {at}") for at in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(llama_cpp, "llama_decode", lambda *_: -3)
        with pytest.raises(RuntimeError, match="-3"):
            chat.step()
    assert [type(call.error) for call in calls] == [RuntimeError] * 3
    assert finish(chat, started(chat, request("The nest is", 10), "before")) == expected


def test_a_cancelled_call_leaves_the_others_alone(chat: LlamaEngine) -> None:
    expected = finish(chat, started(chat, request("The nest is", 30), "x"))
    stays = started(chat, request("The nest is", 30), "y")
    goes = started(chat, request("A zygote", 30), "z")
    for _ in range(5):
        chat.step()
    goes.meter.cancel()
    made = goes.meter.completion_tokens
    assert finish(chat, stays) == expected
    assert isinstance(goes.error, Cancelled)
    assert goes.meter.completion_tokens == made > 0


@pytest.mark.parametrize(
    ("parallel", "memory", "contexts", "expected"),
    [
        (None, 1 << 30, None, 8),
        (3, 1 << 30, None, 3),
        (20, 1 << 30, 8, 8),
        (None, 9 << 15, None, 4),  # four, and an eighth of them while they grow
        (None, (9 << 15) - 1, None, 3),
        (20, 9 << 15, None, 4),
        (None, 1 << 30, 2, 2),  # no more than have a place in the machine
        (None, 0, None, 1),
    ],
)
def test_as_many_at_once_as_memory_has_room_for(
    tiny: LoadableModel, parallel: int | None, memory: int, contexts: int | None, expected: int
) -> None:
    # Two layers of keys and values of 32 numbers in two bytes: 256 bytes a token, 256 tokens.
    spec = tiny.spec.model_copy(update={"parallel": parallel})
    engine = LlamaEngine()
    engine.load(replace(tiny, spec=spec, memory_bytes=memory, contexts=contexts), threads=1)
    assert engine.parallel == expected
    engine.unload()


# ---- Who reads how much --------------------------------------------------------------------------


def prompts(*lengths: int, priorities: tuple[int, ...] = ()) -> list[Slot]:
    calls = [
        Computation(request("x"), Meter(), priority=(priorities or (1,) * len(lengths))[at])
        for at in range(len(lengths))
    ]
    return [Slot(at, unread=[0] * length, call=calls[at]) for at, length in enumerate(lengths)]


def counts(slots: list[Slot], room: int) -> dict[int, int]:
    return {slot.number: count for slot, count in shares(slots, room)}


@pytest.mark.parametrize(
    ("lengths", "priorities", "room", "expected"),
    [
        ((10,), (), 64, {0: 10}),
        ((100, 100), (), 64, {0: 32, 1: 32}),
        ((100, 10, 100), (), 94, {0: 42, 1: 10, 2: 42}),  # what one does not need is the others'
        ((100, 100, 10, 100), (), 90, {0: 32, 1: 32, 2: 10}),  # turns, in place of small parts
        ((100, 100), (2, 0), 64, {1: 64}),
        ((100, 20), (2, 0), 64, {0: 44, 1: 20}),
        ((65,), (), 64, {0: 63}),  # not one alone at the end
        ((1, 1), (), 64, {0: 1, 1: 1}),
        ((100, 100, 100), (), LEAST, {0: LEAST}),
    ],
)
def test_prompts_share_the_room_of_a_step(
    lengths: tuple[int, ...], priorities: tuple[int, ...], room: int, expected: dict[int, int]
) -> None:
    assert counts(prompts(*lengths, priorities=priorities), room) == expected


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.integers(LEAST, BATCH))
def test_no_prompt_waits_for_ever_and_none_is_left_with_one_token(
    lengths: list[int], room: int
) -> None:
    slots = prompts(*lengths)
    for _ in range(sum(lengths)):
        found = shares([slot for slot in slots if slot.unread], room)
        assert sum(count for _, count in found) <= room
        for slot, count in found:
            assert count > 1 or len(slot.unread) == 1
            del slot.unread[:count]
            assert len(slot.unread) != 1
        if not any(slot.unread for slot in slots):
            return
    pytest.fail("somebody never had a turn")


def test_a_long_prompt_has_its_turn_however_many_short_ones_come() -> None:
    long, *others = prompts(1000, 20, 20)
    for at, slot in enumerate([long, *others]):
        slot.used = at + 1
    [(first, _)] = shares([long, *others], LEAST)
    assert first is long
    long.used = 4
    [(second, _)] = shares([long, *others], LEAST)
    assert second is others[0]


@pytest.mark.parametrize("room", [LEAST, BATCH])
def test_less_urgent_prompts_are_read_however_many_urgent_ones_come(room: int) -> None:
    later, urgent = prompts(50, 10_000, priorities=(1, 0))
    turns = 0
    while later.unread:
        turns += 1
        assert turns < 5 * PATIENCE
        for slot, count in shares([later, urgent], room):
            del slot.unread[:count]
            slot.used = turns
        urgent.unread = [0] * 10_000  # somebody else's
    assert turns > PATIENCE  # urgent ones go first all the same


def test_many_short_prompts_are_not_cut(chat: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{at} is what somebody asks for" for at in range(8)]
    calls = [started(chat, request(each, 1), f"cut {at}") for at, each in enumerate(texts)]
    read = reads(monkeypatch)
    finish(chat, *calls)
    assert sorted(read) == sorted(call.meter.prompt_tokens for call in calls)


def test_a_step_is_as_long_as_it_may_be() -> None:
    pace = Pace()
    assert pace.room() == 2 * LEAST
    pace.learn(LEAST, 1.0)  # slow
    assert pace.room() == LEAST
    for _ in range(50):
        pace.learn(BATCH, 0.001)
    assert pace.room() == BATCH
    pace.learn(1, 10.0)  # says nothing
    assert pace.room() == BATCH


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40))
def test_what_two_begin_with(one: list[int], other: list[int]) -> None:
    expected = next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    assert common(one, other) == expected
