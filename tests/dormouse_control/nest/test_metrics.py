"""What the nest tells Prometheus, of services whose predictors are real, tiny processes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dormouse.machine import SPARE_MB
from dormouse_control.nest.inventory import Inventory
from dormouse_control.nest.memory import MemoryHandler
from dormouse_control.nest.metrics import NestMetrics
from dormouse_control.nest.sizes import Sizes
from dormouse_control.nest.waiting import Refused
from fixtures.nvml import Card, FakeNvml

MIB = 2**20


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    proc = tmp_path / "root" / "proc"
    proc.mkdir(parents=True)
    kib = int((8000 + SPARE_MB) * 1024)
    (proc / "meminfo").write_text(f"MemTotal: {kib} kB\nMemAvailable: {kib - 3000 * 1024} kB\n")
    return proc.parent


def test_services_tell_their_predictors_queue_and_quarantine(
    make_nest: Any, make_shared: Any, acquire: Any
) -> None:
    async def scene() -> list[dict[str, float]]:
        shared = make_shared()
        runner, _ = make_nest("fine", "bad: crash", shared=shared)
        registry = CollectorRegistry()
        NestMetrics({"chat": runner}, shared.memory, registry)
        found: list[dict[str, float]] = [numbers(registry)]
        with pytest.raises(Refused):
            await acquire(runner, "r1", model="bad")
        found.append(numbers(registry))
        waiting = asyncio.create_task(acquire(runner, "r2"))
        while not runner.status().queue:
            await asyncio.sleep(0.005)
        found.append(numbers(registry))
        await waiting
        found.append(numbers(registry))
        await runner.close(5)
        return found

    asleep, quarantined, waking, awake = asyncio.run(scene())
    assert (asleep["awake"], asleep["ready"], asleep["quarantined"]) == (0, 0, 0)
    assert asleep["planned"] == 0
    assert quarantined["quarantined"] == 1
    assert (waking["waiting"], waking["ready"]) == (1, 0)
    assert (awake["awake"], awake["ready"], awake["waiting"]) == (1, 1, 0)
    assert awake["planned"] > 0


def numbers(registry: CollectorRegistry) -> dict[str, float]:
    def value(name: str, **labels: str) -> float:
        found = registry.get_sample_value(name, labels)
        assert found is not None, name
        return found

    return {
        "awake": value("dormouse_service_awake", service="chat"),
        "ready": value("dormouse_service_predictors", service="chat", state="ready"),
        "waiting": value("dormouse_service_waiting_calls", service="chat"),
        "quarantined": value("dormouse_service_quarantined_models", service="chat"),
        "planned": value("dormouse_memory_planned_bytes", where="ram"),
    }


def test_memory_is_told_of_the_machine_and_of_every_gpu(
    machine: Path, tmp_path: Path, make_shared: Any
) -> None:
    inventory = Inventory(machine, nvml=lambda: FakeNvml(Card(total=24_000, used=4_000)))
    models = make_shared().models
    sizes = Sizes(tmp_path / "sizes.json")
    memory = MemoryHandler(models, inventory, sizes, evict=lambda _: None)
    registry = CollectorRegistry()
    NestMetrics({}, memory, registry)

    def value(what: str, where: str) -> float | None:
        return registry.get_sample_value(f"dormouse_memory_{what}_bytes", {"where": where})

    assert value("total", "ram") == pytest.approx(8000 * MIB)
    assert value("free", "ram") == pytest.approx(5000 * MIB)
    assert (value("total", "gpu0"), value("free", "gpu0")) == (24_000 * MIB, 20_000 * MIB)
    assert (value("planned", "ram"), value("planned", "gpu0")) == (0, 0)
    assert value("total", "gpu1") is None
