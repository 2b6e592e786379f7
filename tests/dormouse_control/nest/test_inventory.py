"""What the nest sees of machine and processes."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dormouse.gpus import NoDriver
from dormouse_control.nest.inventory import Inventory
from fixtures.nvml import Card, FakeNvml


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def no_driver() -> FakeNvml:
    raise NoDriver("NVML Shared Library Not Found")


def test_a_machine_without_a_driver_has_no_gpus_which_is_said_once() -> None:
    inventory = Inventory(nvml=no_driver)
    with capture_logs() as logs:
        assert inventory.machine().gpus == ()
        assert inventory.machine().gpus == ()
        taken = inventory.taken(os.getpid())
    assert [(log["event"], log["log_level"]) for log in logs] == [("no_gpus", "info")]
    assert taken is not None
    assert taken.vram_mb == {}
    assert taken.ram.whole_mb >= taken.ram.private_mb > 5


def test_the_driver_is_opened_once_and_only_when_it_is_needed() -> None:
    opened = []

    def driver() -> FakeNvml:
        opened.append(1)
        return FakeNvml(Card(1000))

    inventory = Inventory(nvml=driver)
    assert opened == []
    inventory.machine()
    inventory.taken(os.getpid())
    assert opened == [1]


def test_gpus_are_named_in_the_log_whenever_there_are_others() -> None:
    nvml = FakeNvml(Card(1000, used=100), Card(2000))
    inventory = Inventory(nvml=lambda: nvml)
    with capture_logs() as logs:
        assert [gpu.space.free_mb for gpu in inventory.machine().gpus] == [900, 2000]
        inventory.machine()
        nvml.cards[1].lost = True
        assert [gpu.index for gpu in inventory.machine().gpus] == [0]
    assert [log["gpus"] for log in logs] == [
        ["0: NVIDIA Fake 1000", "1: NVIDIA Fake 2000"],
        ["0: NVIDIA Fake 1000"],
    ]


def test_what_a_process_has_on_each_gpu() -> None:
    ours = os.getpid()
    nvml = FakeNvml(
        Card(9000, processes={ours: 300, 1: 5}), Card(9000, lost=True), Card(9000, processes={1: 5})
    )
    taken = Inventory(nvml=lambda: nvml).taken(ours)
    assert taken is not None
    assert taken.vram_mb == {0: 300}


@pytest.mark.parametrize("processes", [{}, {1: 5.0}, {os.getpid(): None}])
def test_a_driver_that_does_not_tell_whose_memory_it_is(processes: dict[int, float | None]) -> None:
    taken = Inventory(nvml=lambda: FakeNvml(Card(9000, processes=processes))).taken(os.getpid())
    assert taken is not None
    assert taken.vram_mb is None


def test_a_process_that_has_ended_has_nothing(tmp_path: Path) -> None:
    assert Inventory(tmp_path, nvml=no_driver).taken(12) is None
