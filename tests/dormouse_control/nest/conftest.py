"""Fixtures: `make_nest` makes a ServiceRunner whose predictors are real, tiny processes.

Only the zygote is stood in for: it starts that script in place of forking an engine.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dormouse_control.nest.periods import Periods
from dormouse_control.nest.service import Plan, ServiceRunner
from dormouse_control.nest.zygote import ZygoteFailed

SCRIPT = Path(__file__).with_name("tiny_predictor.py")


class TinyZygote:
    """`moods` says how each next predictor behaves; the last one stays."""

    def __init__(self, *moods: str) -> None:
        self.moods = list(moods) or ["fine"]
        self.configs: list[dict[str, Any]] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    async def fork(self, config: dict[str, Any]) -> socket.socket:
        self.configs.append(config)
        mood = self.moods.pop(0) if len(self.moods) > 1 else self.moods[0]
        if mood == "no zygote":
            raise ZygoteFailed("no zygote")
        ours, theirs = socket.socketpair()
        with theirs:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-S", str(SCRIPT), str(theirs.fileno()), mood],
                    pass_fds=[theirs.fileno()],
                )
            )
        ours.setblocking(False)
        return ours

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def periods(tmp_path: Path) -> Periods:
    return Periods(tmp_path / "periods")


@pytest.fixture
def make_nest(periods):
    zygotes = []

    def make(
        *moods: str, leaving: Callable[[str], None] = lambda _: None, **changed: Any
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
        return ServiceRunner(Plan(**{**fields, **changed}), zygote, periods, leaving), zygote

    yield make
    for zygote in zygotes:
        zygote.end()


@pytest.fixture
def until():
    async def wait(condition, seconds=5.0):
        for _ in range(round(seconds / 0.01)):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("waited in vain")

    return wait
