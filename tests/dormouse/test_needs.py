"""What models take, from the fields of their .ini."""

from dataclasses import dataclass
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dormouse.catalog import ServiceSpec
from dormouse.needs import (
    ALL_LAYERS,
    DRIVER_MB,
    ENGINES,
    PROCESS_MB,
    Need,
    contexts_within,
    estimated_kv_mb_per_1000_tokens,
    need_of,
)


@dataclass(frozen=True)
class Ini:
    size_mb: float = 4000.0
    layers: int = 32
    context: int = 8000
    parameters: int = 6_738_415_616
    kv_mb_per_1000_tokens: float | None = None


# Keys and values of one token in MiB / 1000: 2 · layers · width of keys and values · 2 bytes.
REAL = {
    "Llama 2 7B": (32, 6_738_415_616, 2 * 32 * 4096 * 2 * 1000 / 2**20),
    "Llama 2 13B": (40, 13_015_864_320, 2 * 40 * 5120 * 2 * 1000 / 2**20),
    "GPT-2": (12, 124_439_808, 2 * 12 * 768 * 2 * 1000 / 2**20),
    "dormouse-chat": (4, 3_606_784, 2 * 4 * 256 * 2 * 1000 / 2**20),
}


@pytest.mark.parametrize(("layers", "parameters", "real"), REAL.values(), ids=REAL)
def test_the_estimate_of_a_context_is_near_and_not_too_small(
    layers: int, parameters: int, real: float
) -> None:
    assert real <= estimated_kv_mb_per_1000_tokens(layers, parameters) <= 1.25 * real


def test_models_that_share_keys_and_values_are_not_underrated() -> None:
    llama_3_8b = 2 * 32 * 1024 * 2 * 1000 / 2**20
    assert estimated_kv_mb_per_1000_tokens(32, 8_030_261_248) > llama_3_8b == 125


def test_the_ini_goes_before_the_estimate() -> None:
    assert need_of("llama", Ini(kv_mb_per_1000_tokens=125)).context_mb == 1000
    assert need_of("llama", Ini(kv_mb_per_1000_tokens=0)).context_mb == 0
    assert need_of("llama", Ini()).context_mb > 4000


def test_a_model_that_keeps_no_context_needs_none() -> None:
    need = need_of("transformers-embeddings", Ini())
    assert (need.context_mb, need.gpu, need.splits) == (0, False, False)


def test_every_engine_of_the_catalogue_is_known() -> None:
    assert set(ENGINES) == set(get_args(ServiceSpec.model_fields["engine"].annotation))


def test_an_unknown_engine_is_an_error() -> None:
    with pytest.raises(KeyError):
        need_of("abacus", Ini())


def test_what_was_learned_counts_only_if_it_is_more() -> None:
    need = Need(100, 50)
    assert need.at_least(150) is need
    assert need.at_least(400).model_mb == 400
    assert need.at_least(400).context_mb == 50


@settings(deadline=None)
@given(st.integers(1, 100), st.floats(1, 1e5), st.floats(0, 1e5))
def test_layers_move_from_main_memory_to_the_gpu(
    layers: int, weights: float, context: float
) -> None:
    need = Need(weights, context, layers, gpu=True, splits=True)
    assert need.vram_mb(0) == 0
    assert need.ram_mb(0) == pytest.approx(need.model_mb + PROCESS_MB)
    assert need.vram_mb(ALL_LAYERS) == pytest.approx(need.model_mb + DRIVER_MB)
    assert need.ram_mb(ALL_LAYERS) == PROCESS_MB
    for some in range(1, layers):
        assert need.vram_mb(some) <= need.vram_mb(some + 1)
        assert need.ram_mb(some) >= need.ram_mb(some + 1)
        both = need.vram_mb(some) + need.ram_mb(some)
        assert both == pytest.approx(need.model_mb + PROCESS_MB + DRIVER_MB)


@pytest.mark.parametrize(
    ("memory", "context", "most", "expected"),
    [
        (900, 100, None, 8),
        (899, 100, None, 7),
        (9000, 100, None, 8),
        (9000, 100, 20, 20),
        (9000, 100, 2, 2),
        (0, 100, None, 1),
        (-50, 100, None, 1),
        (0, 0, None, 8),
    ],
)
def test_contexts_have_room_with_what_growing_takes(
    memory: float, context: float, most: int | None, expected: int
) -> None:
    assert contexts_within(memory, context, most) == expected
