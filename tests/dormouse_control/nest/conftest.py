"""Fixtures: `make_nest` makes a ServiceRunner whose predictors are real, tiny processes.

Only the zygote is stood in for: it starts that script in place of forking an engine.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dormouse.gpus import NoDriver
from dormouse.machine import SPARE_MB
from dormouse_control.nest import run
from dormouse_control.nest.cgroups import Groups, Limits
from dormouse_control.nest.cold_starts import ColdStarts
from dormouse_control.nest.confinement import Confinement, Confining, Needs
from dormouse_control.nest.facts import Facts
from dormouse_control.nest.inventory import Inventory
from dormouse_control.nest.memory import MemoryHandler
from dormouse_control.nest.model_facts import ModelFacts
from dormouse_control.nest.periods import Periods
from dormouse_control.nest.plan import Plan
from dormouse_control.nest.read_ahead import ReadAhead
from dormouse_control.nest.service import ServiceRunner
from dormouse_control.nest.services import Models, Services
from dormouse_control.nest.shared import Shared
from dormouse_control.nest.sizes import Sizes
from dormouse_control.nest.starts import Starts
from dormouse_control.nest.waiting import Asked
from dormouse_control.nest.zygote import ZygoteFailed

SCRIPT = Path(__file__).with_name("tiny_predictor.py")


class TinyZygote:
    """`moods` says how each next predictor behaves; the last one stays. A mood may be for a model:
    "m: crash".
    """

    def __init__(self, *moods: str) -> None:
        of_model = [mood.partition(": ") for mood in moods if ": " in mood]
        self.of_model = {model: mood for model, _, mood in of_model}
        self.moods = [mood for mood in moods if ": " not in mood] or ["fine"]
        self.configs: list[dict[str, Any]] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.killed = 0
        self.pid: int | None = 1

    async def fork(self, config: dict[str, Any]) -> socket.socket:
        self.configs.append(config)
        mood = self.of_model.get(config["model"]) or self._next()
        if mood == "no zygote":
            raise ZygoteFailed("no zygote")
        self.pid = 1
        ours, theirs = socket.socketpair()
        with theirs:
            if mood == "zygote ends":
                asyncio.get_running_loop().call_later(0.02, setattr, self, "pid", None)
                ours.setblocking(False)
                return ours
            self.processes.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        "-S",
                        str(SCRIPT),
                        str(theirs.fileno()),
                        mood,
                        config["model"],
                    ],
                    pass_fds=[theirs.fileno()],
                )
            )
        ours.setblocking(False)
        return ours

    def _next(self) -> str:
        return self.moods.pop(0) if len(self.moods) > 1 else self.moods[0]

    def kill(self) -> None:
        self.killed += 1

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def periods(tmp_path: Path) -> Periods:
    return Periods(tmp_path / "periods")


@pytest.fixture
def cold_starts(tmp_path: Path) -> ColdStarts:
    return ColdStarts(tmp_path / "cold-starts.json")


class AnyModel(dict[tuple[str, str], ModelFacts]):
    """A mebibyte, whatever its name."""

    def __missing__(self, key: tuple[str, str]) -> ModelFacts:
        service, model = key
        return ModelFacts(
            service=service,
            model=model,
            profile="starter",
            engine="llama",
            ini=f"{model}.ini",
            folder="",
            source="builtin:x",
            sha256=None,
            size_mb=1,
            layers=1,
            context=16,
            parameters=1000,
        )


@pytest.fixture
def make_shared(periods, cold_starts, tmp_path):
    def make(leaving: Callable[[str], None] = lambda _: None, **changed: Any) -> Shared:
        models = AnyModel()
        memory = MemoryHandler(
            models, Inventory(), Sizes(tmp_path / "sizes.json"), evict=lambda _: None
        )
        fields: dict[str, Any] = {
            "memory": memory,
            "models": models,
            "starts": Starts(2),
            "read_ahead": lambda *_: None,
            **changed,
        }
        return Shared(periods, cold_starts, leaving=leaving, **fields)

    return make


@pytest.fixture
def acquire():
    def ask(runner, request_id="r1", *, user="ada", model="m", priority=1):
        return runner.acquire(Asked(request_id, user, model, priority))

    return ask


@pytest.fixture
def make_nest(make_shared):
    zygotes = []

    def make(
        *moods: str,
        leaving: Callable[[str], None] = lambda _: None,
        shared: Shared | None = None,
        **changed: Any,
    ) -> tuple[ServiceRunner, TinyZygote]:
        zygote = TinyZygote(*moods)
        zygotes.append(zygote)
        fields: dict[str, Any] = {
            "service": "chat",
            "first_model": "m",
            "idle_seconds": 60.0,
            "wake_seconds": 10.0,
            "queue_length": 10,
            "config": {"service": "chat"},
        }
        plan = Plan(**{**fields, **changed})
        return ServiceRunner(plan, zygote, shared or make_shared(leaving)), zygote

    yield make
    for zygote in zygotes:
        zygote.end()


@pytest.fixture
def until():
    async def wait(condition, seconds=15.0):
        for _ in range(round(seconds / 0.01)):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("waited in vain")

    return wait


def _no_driver() -> Any:
    raise NoDriver("none")


class SmallMachine:
    """Services on a machine with so much memory, wired as the nest wires them. Each has a model
    "m", which takes what it states and `PROCESS_MB`. `limits_mb` of services are their `memory`.
    """

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        ram_mb: float,
        limits_mb: dict[str, int],
    ) -> None:
        self.root = folder / "root"
        (self.root / "proc").mkdir(parents=True)
        self.has(ram_mb, ram_mb)
        models: Models = {}
        needs = {
            service: Needs(Limits(memory=mb << 20, cpus=1, threads=100), ())
            for service, mb in limits_mb.items()
        }
        self.zygotes: dict[str, TinyZygote] = {}
        self.services = Services(self._make, models)
        facts = Facts(
            plans=(),
            models=(),
            socket="",
            internal_socket="",
            spool=str(folder),
            cold_starts=str(folder / "cold-starts.json"),
            sizes=str(folder / "sizes.json"),
            weights=str(folder),
            metrics_port=0,
            log_level="info",
            confinement=Confinement(),
        )
        inventory = Inventory(self.root, nvml=_no_driver)
        monkeypatch.setattr(run, "Inventory", lambda: inventory)
        self.shared = run._shared(
            facts,
            self.services,
            models,
            Periods(folder / "periods"),
            ReadAhead(),
            Confining(Confinement(needs=needs), Groups(None, limit_memory=bool(needs)), {}),
            lambda _: None,
        )
        self._plans: dict[str, Plan] = {}
        self._models: Models = {}

    def has(self, total_mb: float, free_mb: float) -> None:
        text = f"MemTotal: {(total_mb + SPARE_MB) * 1024:.0f} kB\n"
        text += f"MemAvailable: {(free_mb + SPARE_MB) * 1024:.0f} kB\n"
        (self.root / "proc/meminfo").write_text(text)

    def _make(self, plan: Plan) -> ServiceRunner:
        return ServiceRunner(plan, self.zygotes[plan.service], self.shared)  # type: ignore[arg-type]

    def offer(self, service: str, *moods: str, mb: float, **changed: Any) -> ServiceRunner:
        if service not in self.zygotes:  # else it is only offered anew
            self.zygotes[service] = TinyZygote(*moods)
        plan = Plan(
            service=service,
            first_model="m",
            idle_seconds=60.0,
            wake_seconds=10.0,
            queue_length=10,
            config={"service": service},
        )
        self._plans[service] = replace(plan, **changed)
        self.also(service, "m", mb=mb)
        return self.services[service]

    def also(self, service: str, model: str, *, mb: float) -> None:
        """A model more of that service, or another size of one."""
        facts = replace(AnyModel()[service, model], size_mb=mb, context=0)
        self._models[service, model] = facts
        self.services.adopt(tuple(self._plans.values()), tuple(self._models.values()))


@pytest.fixture
def small_machine(tmp_path, monkeypatch):
    made = []

    def make(ram_mb: float, **limits_mb: int) -> SmallMachine:
        machine = SmallMachine(tmp_path, monkeypatch, ram_mb, limits_mb)
        made.append(machine)
        return machine

    yield make
    for machine in made:
        for zygote in machine.zygotes.values():
            zygote.end()
