"""Real zygotes: when they are started, and that they come back."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from dormouse.catalog import read_catalog
from dormouse_control.nest.cgroups import Groups
from dormouse_control.nest.confinement import Confinement, Confining
from dormouse_control.nest.facts import Facts
from dormouse_control.nest.prepare import facts
from dormouse_control.nest.zygotes import CHECK_SECONDS, When, Zygotes
from dormouse_control.settings import Settings

SECONDS = 60.0


@contextlib.asynccontextmanager
async def kept(when: When) -> AsyncIterator[Zygotes]:
    zygotes = Zygotes(Confining(Confinement(), Groups(None), {}), when)
    keeping = asyncio.create_task(zygotes.keep())
    try:
        yield zygotes
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        zygotes.close()
        await until(lambda: zygotes.of("llama").pid is None)


async def until(found: Callable[[], Any]) -> Any:
    async with asyncio.timeout(SECONDS):
        while not (value := found()):
            await asyncio.sleep(0.02)
        return value


async def fork(zygotes: Zygotes, folder: Path) -> None:
    """A predictor that finds no catalogue, and ends."""
    config = {"service": "none", "engine": "llama", "instance": "0" * 32, "spool": str(folder)}
    control = await zygotes.of("llama").fork(config)
    control.close()


def test_by_default_zygotes_are_started_with_the_nest_and_again_when_they_die() -> None:
    async def play() -> tuple[int, int]:
        async with kept("start") as zygotes:
            zygote = zygotes.of("llama")
            first = await until(lambda: zygote.pid)
            await zygote.start()
            os.kill(first, signal.SIGKILL)
            return first, await until(lambda: zygote.pid if zygote.pid != first else None)

    first, second = asyncio.run(play())
    assert first != second


def test_a_zygote_may_wait_for_its_first_call_and_comes_back_after_that(tmp_path: Path) -> None:
    async def play() -> tuple[int | None, int, int]:
        async with kept("first_call") as zygotes:
            zygote = zygotes.of("llama")
            await asyncio.sleep(3 * CHECK_SECONDS)
            before = zygote.pid
            await fork(zygotes, tmp_path)
            first = zygote.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            return before, first, await until(lambda: zygote.pid if zygote.pid != first else None)

    before, first, second = asyncio.run(play())
    assert before is None
    assert first != second


@pytest.mark.parametrize("when", ["start", "first_call"])
def test_the_setting_reaches_the_nest(tmp_path: Path, when: When) -> None:
    settings = Settings(home=tmp_path, zygotes=when)
    found = facts(settings, read_catalog(settings.services))
    assert Facts.from_json(found.to_json()).zygotes == when
