"""How long predictors were there is told once, whatever dies in between."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dormouse_control.nest.periods import Periods


class Told:
    """A control plane that hears reports, unless it is away."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.away = False

    def __call__(self, reports: Sequence[dict[str, Any]]) -> None:
        if self.away:
            raise OSError("away")
        self.reports += reports


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    yield started
    started.kill()
    started.wait()


def test_a_period_is_told_once_it_is_over(periods: Periods, told: Told) -> None:
    before = time.time() * 1000
    periods.began("i1", service="chat", gpus=2)
    periods.runs("i1", pid=os.getpid(), load_ms=0)
    periods.runs("i1", pid=os.getpid(), load_ms=30)
    periods.seen()
    assert periods.report(told) == 0
    time.sleep(0.05)
    periods.ended("i1")
    periods.ended("i1")
    assert periods.report(told) == 1
    assert periods.report(told) == 0
    (report,) = told.reports
    assert report["woke"] >= before - 1
    assert 50 <= report["ended"] - report["woke"] < 5000
    expected = {"instance": "i1", "service": "chat", "gpus": 2, "load_ms": 30}
    assert expected.items() <= report.items()


def test_who_is_seen_was_there_until_now(tmp_path: Path) -> None:
    """Should its nest die with it, that is its end."""
    periods = Periods(tmp_path)
    periods.began("i1", service="chat", gpus=0)
    os.utime(tmp_path / "i1.json", (1, 1))
    periods.seen()
    assert (tmp_path / "i1.json").stat().st_mtime > 1


def test_what_a_control_plane_did_not_hear_is_told_again(periods: Periods, told: Told) -> None:
    periods.began("i1", service="chat", gpus=0)
    periods.ended("i1")
    told.away = True
    with pytest.raises(OSError, match="away"):
        periods.report(told)
    told.away = False
    assert periods.report(told) == 1


def test_who_is_not_ready_waits(periods: Periods, told: Told) -> None:
    periods.began("i1", service="chat", gpus=0)
    periods.ended("i1")
    assert periods.report(told, ready=lambda _: False) == 0
    assert periods.report(told, ready=lambda period: period.service == "chat") == 1


def test_a_predictor_that_outlives_its_nest_counts_until_it_ends(
    tmp_path: Path, told: Told, process: subprocess.Popen[bytes]
) -> None:
    first = Periods(tmp_path)
    first.began("i1", service="chat", gpus=0)
    first.runs("i1", pid=process.pid, load_ms=5)
    file = tmp_path / "i1.json"

    second = Periods(tmp_path)  # the first was killed
    os.utime(file, (1, 1))
    second.adopt()
    assert second.report(told) == 0
    assert file.stat().st_mtime > 1
    process.kill()
    process.wait()
    second.adopt()
    assert second.report(told) == 1
    seen = told.reports[0]["ended"]
    assert abs(seen - time.time() * 1000) < 5000


def test_what_died_with_its_nest_ended_when_it_was_last_seen(tmp_path: Path, told: Told) -> None:
    first = Periods(tmp_path)
    first.began("i1", service="chat", gpus=0)
    first.began("i2", service="chat", gpus=0)
    first.runs("i2", pid=os.getpid(), load_ms=0)
    later = time.time() + 100
    os.utime(tmp_path / "i1.json", (later, later))
    os.utime(tmp_path / "i2.json", (1, 1))
    text = (tmp_path / "i2.json").read_text()
    (tmp_path / "i2.json").write_text(text.replace('"born": ', '"born": 1'))  # another's pid now
    os.utime(tmp_path / "i2.json", (1, 1))

    second = Periods(tmp_path)
    second.adopt()
    assert second.report(told) == 2
    one, two = told.reports
    assert one["ended"] == round(later * 1000)
    assert two["ended"] == two["woke"]  # never before it began


def test_a_damaged_file_is_put_aside(tmp_path: Path, told: Told) -> None:
    periods = Periods(tmp_path)
    (tmp_path / "i1.json").write_text('{"instance": "i1"')
    assert periods.report(told) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["i1.bad"]


def test_a_service_tells_from_waking_to_the_end(make_nest, periods, told, until, acquire) -> None:
    async def scene():
        runner, zygote = make_nest("slow", gpus=1)
        await acquire(runner)
        assert periods.report(told) == 0
        runner.sleep()
        await until(lambda: periods.report(told))
        return zygote.configs[0]

    config = asyncio.run(scene())
    (report,) = told.reports
    assert (report["instance"], report["gpus"], report["load_ms"]) == (config["instance"], 1, 1)
    assert report["ended"] - report["woke"] >= 500


def test_what_never_started_has_a_short_period(make_nest, periods, told, acquire) -> None:
    async def scene():
        runner, _ = make_nest("crash", "no zygote", "fine")
        await acquire(runner)
        return periods.report(told)

    assert asyncio.run(scene()) == 2
