"""A predictor without a nest decides itself where its models go."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dormouse.catalog import Model, read_catalog
from dormouse.gpus import NoDriver
from dormouse.machine import Shares
from dormouse.memory import Gpu, Machine, Space
from dormouse.needs import DRIVER_MB, PROCESS_MB, need_of
from dormouse_predictors import placing
from dormouse_predictors.errors import CallError
from dormouse_predictors.placing import Alone, Placement
from fixtures.nvml import Card, FakeNvml

SERVICES = Path(__file__).parents[2] / "services"


def model(mb: float, **changed: Any) -> Model:
    known = read_catalog(SERVICES).services["chat"].models["dormouse-chat"]
    fields = {"size_mb": mb, "kv_mb_per_1000_tokens": 0.0, "layers": 10, **changed}
    return replace(known, spec=known.spec.model_copy(update=fields))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the probe finds; to be changed by tests."""
    found = SimpleNamespace(ram=Space(9000, 9000), gpus=(), private=0.0, asked=0)

    def opened() -> Any:
        found.asked += 1
        if not found.gpus:
            raise NoDriver("none")
        return FakeNvml(*(Card(gpu.space.total_mb) for gpu in found.gpus))

    def read(nvml: Any = None) -> Machine:
        return Machine(found.ram, found.gpus if nvml is not None else ())

    monkeypatch.setattr(placing, "open_nvml", opened)
    monkeypatch.setattr(placing, "read", read)
    monkeypatch.setattr(placing, "shares", lambda _: Shares(found.private, found.private))
    monkeypatch.setattr(placing, "need_here", need_of)
    return found


def test_in_main_memory(machine: SimpleNamespace) -> None:
    assert Alone().place(model(1000), "llama") == Placement(None, 0, 8)
    assert machine.asked == 1


def test_as_many_contexts_as_have_room(machine: SimpleNamespace) -> None:
    assert machine.ram.free_mb == 9000
    # 2,048 tokens are 1,024 MiB; of what 1,000 + 1,024 + 64 leave of 9,000, half is for more.
    found = Alone().place(model(1000, kv_mb_per_1000_tokens=500.0), "llama")
    assert found == Placement(None, 0, 3)
    few = model(1000, kv_mb_per_1000_tokens=500.0, parallel=2)
    assert Alone().place(few, "llama").contexts == 2


def test_on_a_gpu(machine: SimpleNamespace) -> None:
    machine.gpus = (Gpu(0, Space(1000 + DRIVER_MB, 1000 + DRIVER_MB)),)
    alone = Alone()
    assert alone.place(model(1000), "llama") == Placement(0, -1, 8)
    assert Alone().place(model(2000), "llama") == Placement(0, 5, 8)
    assert Alone().place(model(1000), "transformers-embeddings") == Placement(None, 0, 1)


def test_the_driver_is_asked_for_once(machine: SimpleNamespace) -> None:
    alone = Alone()
    for _ in range(3):
        alone.place(model(1000), "llama")
    assert machine.asked == 1
    Alone().place(model(1000), "transformers-embeddings")
    assert machine.asked == 1


def test_a_model_that_does_not_fit_is_refused(machine: SimpleNamespace) -> None:
    machine.ram = Space(9000, 900)
    with pytest.raises(CallError) as caught:
        Alone().place(model(1000), "llama")
    error = caught.value
    assert (error.status, error.code, error.retry_after) == (503, "insufficient_memory", None)
    assert "dormouse-chat" in error.message
    assert "1,064 MiB of main memory" in error.message
    assert "900 MiB of 9,000 are free" in error.message


def test_what_is_loaded_gives_way(machine: SimpleNamespace) -> None:
    machine.ram = Space(5000, 1000 + PROCESS_MB)
    alone = Alone()
    alone.place(model(1000), "llama")
    machine.ram, machine.private = Space(5000, 100.0), 1000.0
    alone.place(model(1000), "llama")
    machine.ram, machine.private = Space(5000, 100.0), 200.0  # the rest is file pages: free already
    with pytest.raises(CallError):
        alone.place(model(1000), "llama")


def test_on_this_machine() -> None:
    """Nothing stood in for: a tiny model fits, and one of a petabyte does not."""
    assert Alone().place(model(4), "llama") == Placement(None, 0, 8)
    with pytest.raises(CallError, match="1,000,000,064 MiB"):
        Alone().place(model(1e9), "llama")
