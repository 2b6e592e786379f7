"""The memory handler's decision: a table, and what holds whatever goes in."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dormouse.memory import (
    Decision,
    Evict,
    Gpu,
    Machine,
    Place,
    Refuse,
    Resident,
    Space,
    State,
    decide,
)
from dormouse.needs import ALL_LAYERS, Need

EASY = {"process_mb": 0.0, "driver_mb": 0.0}  # so that the numbers below add up by eye
LLAMA = Need(4000, 0, 40, gpu=True, splits=True, **EASY)
WHOLE = Need(4000, 0, 40, gpu=True, splits=False, **EASY)
CPU_ONLY = Need(4000, 0, 40, **EASY)


def machine(ram: float, *gpus: float, total: float = 100_000) -> Machine:
    """With so much free."""
    cards = [Gpu(at, Space(total, free)) for at, free in enumerate(gpus)]
    return Machine(Space(total, ram), tuple(cards))


def on(gpu: int | None, mb: float, layers: int = ALL_LAYERS) -> Place:
    return Place(None, 0, mb, 0) if gpu is None else Place(gpu, layers, 0, mb)


def resident(
    name: str, place: Place, state: State = State.IDLE, idle: float = 60, reload: float = 1
) -> Resident:
    return Resident(name, state, place, idle, reload)


def brief(decision: Decision) -> object:
    match decision:
        case Place():
            return decision.gpu, decision.gpu_layers
        case Evict():
            return decision.residents, (decision.then.gpu, decision.then.gpu_layers)
        case Refuse():
            return "later" if decision.may_fit_later else "never"


TABLE = {
    "all on a GPU that has room": (LLAMA, machine(9000, 9000), [], (0, -1)),
    "exactly as much as it needs": (LLAMA, machine(0, 4000), [], (0, -1)),
    "one layer less, the rest in main memory": (LLAMA, machine(100, 3999), [], (0, 39)),
    "half of the layers": (LLAMA, machine(2000, 2000), [], (0, 20)),
    "too little main memory for the rest": (LLAMA, machine(1999, 2000), [], "later"),
    "no room for one layer": (LLAMA, machine(4000, 99), [], (None, 0)),
    "an engine that cannot split goes to main memory": (WHOLE, machine(9000, 3999), [], (None, 0)),
    "an engine without GPUs": (CPU_ONLY, machine(9000, 9000), [], (None, 0)),
    "no GPU": (LLAMA, machine(4000), [], (None, 0)),
    "nowhere": (LLAMA, machine(3999, total=3999), [], "never"),
    "nowhere while other programs have so much": (LLAMA, machine(3999, total=4000), [], "later"),
    "the smaller GPU that fits": (LLAMA, machine(0, 9000, 5000), [], (1, -1)),
    "the GPU where nobody is, though it is larger": (
        LLAMA,
        machine(0, 9000, 50_000),
        [resident("a", on(0, 100))],
        (1, -1),
    ),
    "two on one GPU, if both fit": (LLAMA, machine(0, 9000), [resident("a", on(0, 100))], (0, -1)),
    "two on one GPU do not fit by what they were said to be": (
        LLAMA,
        # 5,000 are free only because the other took less until now.
        Machine(Space(100_000, 0), (Gpu(0, Space(10_000, 9000)),)),
        [replace(resident("a", on(0, 7000), State.BUSY), taken_vram_mb=1000.0)],
        "later",
    ),
    "most layers, wherever": (LLAMA, machine(9000, 1000, 2000), [], (1, 20)),
    "what loads counts with all of its size": (
        LLAMA,
        machine(0, 6000),
        [resident("a", on(0, 3000), State.LOADING)],
        "later",
    ),
    "what loads counts once": (
        LLAMA,
        machine(0, 6000),
        [replace(resident("a", on(0, 3000), State.LOADING), taken_vram_mb=2000.0)],
        (0, -1),
    ),
    "others' memory counts": (
        LLAMA,
        Machine(Space(3000, 0), (Gpu(0, Space(80_000, 3000)),)),
        [],
        "later",
    ),
    "main memory before somebody is evicted": (
        LLAMA,
        machine(4000, 0),
        [resident("a", on(0, 4000))],
        (None, 0),
    ),
    "an idle one is evicted": (
        LLAMA,
        machine(0, 0),
        [resident("a", on(0, 4000))],
        (("a",), (0, -1)),
    ),
    "an idle one in main memory is evicted": (
        LLAMA,
        machine(0),
        [resident("a", on(None, 4000))],
        (("a",), (None, 0)),
    ),
    "a part of a GPU and of main memory, by evicting one": (
        LLAMA,
        machine(1000, 0),
        [resident("a", on(0, 3000))],
        (("a",), (0, 30)),
    ),
    "a busy one is not evicted": (
        LLAMA,
        machine(0, 0),
        [resident("a", on(0, 4000), State.BUSY)],
        "later",
    ),
    "a kept one is not evicted, and there is nothing to wait for": (
        LLAMA,
        machine(0, 0, total=4000),
        [resident("a", on(0, 4000), State.KEPT), resident("b", on(None, 100), State.KEPT)],
        "never",
    ),
    "who leaves is waited for before anybody is evicted": (
        LLAMA,
        machine(0, 0),
        [
            resident("a", on(0, 4000), idle=9999),
            resident("b", on(0, 4000), State.LEAVING, idle=0),
        ],
        (("b",), (0, -1)),
    ),
    "the one that was idle longest": (
        LLAMA,
        machine(0, 0),
        [resident("a", on(0, 4000), idle=10), resident("b", on(0, 4000), idle=11)],
        (("b",), (0, -1)),
    ),
    "the one that loads fastest": (
        LLAMA,
        machine(0, 0),
        [resident("a", on(0, 4000), reload=9), resident("b", on(0, 4000), reload=8)],
        (("b",), (0, -1)),
    ),
    "the one that frees most for its seconds": (
        LLAMA,
        machine(0, 0),
        [resident("a", on(0, 4000), reload=4), resident("b", on(0, 8000), reload=4)],
        (("b",), (0, -1)),
    ),
    "none that does not help": (
        LLAMA,
        machine(0, 0),
        [resident("a", on(None, 100), idle=9999), resident("b", on(0, 4000), idle=1)],
        (("b",), (0, -1)),
    ),
    "two, if one is not enough": (
        LLAMA,
        machine(0),
        [
            resident("a", on(None, 2000), idle=3),
            resident("b", on(None, 2000), idle=2),
            resident("c", on(None, 2000), idle=1),
        ],
        (("a", "b"), (None, 0)),
    ),
    "not both a small and a large one, if the large one does": (
        LLAMA,
        machine(0),
        [resident("a", on(None, 100), idle=9999), resident("b", on(None, 4000), idle=1)],
        (("b",), (None, 0)),
    ),
    "the useless one of two that are the same to the rest": (
        LLAMA,
        machine(0),
        [
            resident("a", on(None, 1000), idle=900),
            resident("b", on(None, 1000), idle=800),
            resident("c", on(None, 3000), idle=1),
        ],
        (("a", "c"), (None, 0)),
    ),
    "where the evicted one was": (
        LLAMA,
        machine(0, 0, 0),
        [replace(resident("a", on(1, 4000)), taken_vram_mb=4000.0)],
        (("a",), (1, -1)),
    ),
    "idle ones are not enough, with busy ones they would be": (
        LLAMA,
        machine(0),
        [resident("a", on(None, 2000)), resident("b", on(None, 2000), State.BUSY)],
        "later",
    ),
    "no more main memory than its process may take": (
        LLAMA.limited(3999),
        machine(9000),
        [resident("a", on(None, 4000))],
        "never",
    ),
    "exactly what its process may take": (LLAMA.limited(4000), machine(9000), [], (None, 0)),
    "its process may take the layers that are not on the GPU": (
        LLAMA.limited(2000),
        machine(9000, 2000),
        [],
        (0, 20),
    ),
    "a layer more than its process may take": (
        LLAMA.limited(1999),
        machine(9000, 2000, total=2000),
        [],
        "never",
    ),
    "idle ones are not enough": (
        LLAMA,
        machine(0, total=3999),
        [resident("a", on(None, 2000))],
        "never",
    ),
}


@pytest.mark.parametrize(("need", "there", "residents", "expected"), TABLE.values(), ids=TABLE)
def test_the_table(
    need: Need, there: Machine, residents: Sequence[Resident], expected: object
) -> None:
    assert brief(decide(need, there, residents)) == expected


def test_what_every_process_takes_counts_too() -> None:
    need = Need(4000, 1000, 40, gpu=True, splits=True, process_mb=50, driver_mb=500)
    assert decide(need, machine(50, 5500)) == Place(0, ALL_LAYERS, 50, 5500)
    assert brief(decide(need, machine(49, 5500, total=5500))) == "later"
    assert brief(decide(need, machine(5049, total=5049))) == "never"
    assert decide(need, machine(2550, 3000)) == Place(0, 20, 2550, 3000)
    assert decide(need, machine(5050, 500)) == Place(None, 0, 5050, 0)


def test_a_swap_may_use_what_the_present_model_gives_up() -> None:
    own = resident("own", on(0, 3000), State.BUSY)
    assert brief(decide(LLAMA, machine(0, 1000), instead_of=own)) == (0, -1)
    assert brief(decide(LLAMA, machine(0, 999), instead_of=own)) == "later"
    too_small = Machine(Space(99, 99), (Gpu(0, Space(3999, 999)),))
    assert brief(decide(LLAMA, too_small, instead_of=own)) == "never"
    idle = resident("a", on(0, 100))
    assert brief(decide(LLAMA, machine(0, 900), [idle], instead_of=own)) == (("a",), (0, -1))


def test_a_refusal_has_the_numbers() -> None:
    need = Need(4000, 1000, 40, gpu=True, splits=True, process_mb=50, driver_mb=500)
    residents = [
        resident("a", on(None, 300)),
        resident("b", on(None, 2000), State.BUSY),
        resident("c", on(0, 8000), State.LOADING),
    ]
    there = Machine(Space(4000, 700), (Gpu(0, Space(9000, 8500), "NVIDIA T4"),))
    refused = decide(need, there, residents)
    assert isinstance(refused, Refuse)
    assert refused.message == (
        "It needs 5,050 MiB of main memory (1,000 for its context, 4,000 for its weights, 50 for"
        " its process) or 5,500 MiB on one GPU, or some of its layers here and some there."
        " Main memory: 700 MiB of 4,000 are free, 300 more once idle models have ended; 2,000 are"
        " held by models that cannot end now."
        " GPU 0 (NVIDIA T4): 500 MiB of 9,000 are free, 0 more once idle models have ended; 8,000"
        " are held by models that cannot end now."
    )
    assert refused.may_fit_later


def test_a_refusal_names_the_limit_that_is_too_low() -> None:
    refused = decide(CPU_ONLY.limited(1280), machine(9000))
    assert isinstance(refused, Refuse)
    assert "A process of its service may take 1,280 MiB of main memory. Main" in refused.message
    refused = decide(CPU_ONLY.limited(4000), machine(1000))
    assert isinstance(refused, Refuse)
    assert "may take" not in refused.message


# ---- whatever goes in ----------------------------------------------------------------------------

MB = st.integers(0, 100).map(lambda n: n * 100.0)
NEEDS = st.builds(
    Need,
    weights_mb=st.integers(1, 100).map(lambda n: n * 100.0),
    context_mb=MB,
    layers=st.integers(1, 50),
    gpu=st.booleans(),
    splits=st.booleans(),
    process_mb=st.sampled_from([0.0, 64.0]),
    driver_mb=st.sampled_from([0.0, 512.0]),
)
SPACES = st.tuples(MB, MB).map(lambda both: Space(max(both), min(both)))
MACHINES = st.builds(
    lambda ram, cards: Machine(ram, tuple(Gpu(at, card) for at, card in enumerate(cards))),
    SPACES,
    st.lists(SPACES, max_size=3),
)
PLACES = st.builds(
    lambda gpu, ram, vram: Place(gpu, 0 if gpu is None else 5, ram, 0 if gpu is None else vram),
    st.sampled_from([None, 0, 1, 2]),
    MB,
    MB,
)
RESIDENTS = st.lists(
    st.builds(
        Resident,
        id=st.just(""),
        state=st.sampled_from(State),
        place=PLACES,
        idle_seconds=st.integers(0, 5).map(float),
        reload_seconds=st.integers(0, 3).map(float),
        taken_ram_mb=st.none() | MB,
        taken_vram_mb=st.none() | MB,
    ),
    max_size=5,
).map(lambda found: [replace(each, id=str(at)) for at, each in enumerate(found)])
CLOSE = 1e-6
many = settings(max_examples=400, deadline=None)


def after(there: Machine, gone: Sequence[Resident]) -> Machine:
    """What is measured once these have ended."""

    def freed(space: Space, gpu: int | None) -> Space:
        return replace(space, free_mb=space.free_mb + sum(each.taken(gpu) for each in gone))

    cards = tuple(replace(gpu, space=freed(gpu.space, gpu.index)) for gpu in there.gpus)
    return Machine(freed(there.ram, None), cards)


def split(decision: Evict, residents: Sequence[Resident]) -> tuple[list[Resident], list[Resident]]:
    gone = [each for each in residents if each.id in decision.residents]
    return gone, [each for each in residents if each not in gone]


@many
@given(NEEDS, MACHINES, RESIDENTS)
def test_no_memory_is_ever_given_twice(
    need: Need, there: Machine, residents: list[Resident]
) -> None:
    decision = decide(need, there, residents)
    if isinstance(decision, Refuse):
        return
    place, gone, staying = decision, [], residents
    if isinstance(decision, Evict):
        place, (gone, staying) = decision.then, split(decision, residents)
    assert isinstance(place, Place)
    then = after(there, gone)
    spaces = [(None, then.ram, place.ram_mb), *((g.index, g.space, 0.0) for g in then.gpus)]
    for gpu, space, asked in spaces:
        wanted = place.vram_mb if gpu is not None and gpu == place.gpu else asked
        if not wanted:
            continue
        held = sum(each.set_aside(gpu) for each in staying)
        assert held + wanted <= space.total_mb + CLOSE
        to_come = sum(max(0.0, each.set_aside(gpu) - each.taken(gpu)) for each in staying)
        assert to_come + wanted <= space.free_mb + CLOSE
    # And what is set aside is what the model needs.
    assert place.vram_mb + place.ram_mb >= need.model_mb
    assert (place.gpu is None) == (place.gpu_layers == 0) == (place.vram_mb == 0)
    assert place.gpu_layers in (0, ALL_LAYERS) or need.splits


@many
@given(NEEDS, MACHINES, RESIDENTS)
def test_who_is_evicted_is_idle_and_none_may_be_left_out(
    need: Need, there: Machine, residents: list[Resident]
) -> None:
    decision = decide(need, there, residents)
    if not isinstance(decision, Evict):
        return
    gone, staying = split(decision, residents)
    assert {each.state for each in gone} <= {State.IDLE, State.LEAVING}
    assert decide(need, after(there, gone), staying) == decision.then
    for left_out in gone:
        others = [each for each in gone if each is not left_out]
        without = decide(need, after(there, others), [*staying, left_out])
        assert not isinstance(without, Place)


@many
@given(NEEDS, MACHINES, RESIDENTS)
def test_nobody_is_refused_whom_any_eviction_would_help(
    need: Need, there: Machine, residents: list[Resident]
) -> None:
    decision = decide(need, there, residents)
    if not isinstance(decision, Refuse):
        return
    can_go = [each for each in residents if each.state in (State.IDLE, State.LEAVING)]
    for count in range(len(can_go) + 1):
        for gone in combinations(can_go, count):
            staying = [each for each in residents if each not in gone]
            assert not isinstance(decide(need, after(there, gone), staying), Place)
    ends = [each for each in residents if each.state is not State.KEPT]
    stays = [each for each in residents if each.state is State.KEPT]
    later = decide(need, after(there.emptied(), ends), stays)
    assert decision.may_fit_later == isinstance(later, Place)


@many
@given(NEEDS, st.floats(0, 30_000))
@example(Need(100, 0, 9, **EASY), 100 * 7 / 9)
def test_as_many_layers_go_to_a_gpu_as_fit(need: Need, room: float) -> None:
    need = replace(need, gpu=True, splits=True)
    place = decide(need, machine(100_000, room))
    assert isinstance(place, Place)
    layers = need.layers if place.gpu_layers == ALL_LAYERS else place.gpu_layers
    assert layers == max([0, *(n for n in range(1, need.layers + 1) if need.vram_mb(n) <= room)])


@many
@given(NEEDS, MACHINES, RESIDENTS, MB, st.lists(MB, min_size=3, max_size=3))
def test_more_memory_never_costs_a_place(
    need: Need, there: Machine, residents: list[Resident], ram: float, cards: list[float]
) -> None:
    def more(space: Space, mb: float) -> Space:
        return Space(space.total_mb + mb, space.free_mb + mb)

    larger = Machine(
        more(there.ram, ram),
        tuple(replace(gpu, space=more(gpu.space, cards[gpu.index])) for gpu in there.gpus),
    )
    if isinstance(decide(need, there, residents), Place):
        assert isinstance(decide(need, larger, residents), Place)
    if not isinstance(decide(need, there, residents), Refuse):
        assert not isinstance(decide(need, larger, residents), Refuse)


@many
@given(NEEDS, MACHINES, RESIDENTS, st.randoms(use_true_random=False))
def test_the_order_in_which_they_are_told_makes_no_difference(
    need: Need, there: Machine, residents: list[Resident], random: object
) -> None:
    shuffled, cards = list(residents), list(there.gpus)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    random.shuffle(cards)  # type: ignore[attr-defined]
    again = decide(need, Machine(there.ram, tuple(cards)), shuffled)
    first = decide(need, there, residents)
    if isinstance(first, Refuse) and isinstance(again, Refuse):
        assert first.may_fit_later == again.may_fit_later
    else:
        assert first == again


# ---- More contexts than one ----------------------------------------------------------------------

EIGHT = Need(1000, 100, 10, gpu=True, splits=True, contexts=8, **EASY)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        # One takes 1,100; eight 800 more, and an eighth of all while they grow.
        (machine(1100), (None, 1, 1100)),
        (machine(1100 + 2 * 800), (None, 8, 1900)),
        (machine(1100 + 2 * 800 - 1), (None, 7, 1787.5)),
        (machine(1100 + 2 * 125), (None, 2, 1225)),
        (machine(1100 + 2 * 125 - 1), (None, 1, 1100)),
        (machine(0, 1100), (0, 1, 1100)),
        (machine(0, 9000), (0, 8, 1900)),
    ],
)
def test_more_contexts_take_half_of_what_one_leaves(
    there: Machine, expected: tuple[int | None, int, float]
) -> None:
    found = decide(EIGHT, there)
    assert isinstance(found, Place)
    assert (found.gpu, found.contexts, found.ram_mb + found.vram_mb) == expected


def test_layers_on_a_gpu_go_before_contexts() -> None:
    found = decide(EIGHT, machine(100_000, 1099))
    assert isinstance(found, Place)
    assert (found.gpu_layers, found.contexts) == (9, 1)


def test_nobody_ends_for_a_second_context() -> None:
    idle = resident("a", on(None, 5000))
    found = decide(EIGHT, machine(1100), [idle])
    assert isinstance(found, Place)
    assert found.contexts == 1


@settings(deadline=None)
@given(st.floats(0, 5000), st.floats(0, 5000), st.integers(1, 20))
def test_what_is_set_aside_for_contexts_is_there(ram: float, vram: float, contexts: int) -> None:
    need = replace(EIGHT, contexts=contexts)
    found = decide(need, machine(ram, vram))
    if isinstance(found, Place):
        assert found.ram_mb <= ram
        assert found.vram_mb <= vram
        assert 1 <= found.contexts <= contexts
        one = decide(replace(need, contexts=1), machine(ram, vram))
        assert isinstance(one, Place)
        assert (one.gpu, one.gpu_layers) == (found.gpu, found.gpu_layers)
