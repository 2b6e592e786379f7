"""The zygotes of a nest, one an engine: which are there, and that they come back when they die."""

import asyncio
from typing import Literal

from structlog import get_logger

from dormouse_control.nest.confinement import Confining
from dormouse_control.nest.zygote import Zygote, ZygoteFailed

log = get_logger(__name__)

When = Literal["start", "first_call"]

CHECK_SECONDS = 0.5
LONGEST_PAUSE = 60.0


class Zygotes:
    """`when` they are started: with the nest, or not before a call wants one."""

    def __init__(self, confining: Confining, when: When) -> None:
        self._confining = confining
        self._when = when
        self._by_engine: dict[str, Zygote] = {}

    def of(self, engine: str) -> Zygote:
        if engine not in self._by_engine:
            self._by_engine[engine] = Zygote(engine, self._confining)
        return self._by_engine[engine]

    async def keep(self) -> None:
        """Never returns. Imports take seconds: have them done before somebody calls, or calls
        again; one zygote after the other."""
        pause = CHECK_SECONDS
        while True:
            try:
                for zygote in list(self._by_engine.values()):
                    if self._when == "start" or zygote.wanted:
                        await zygote.start()
                pause = CHECK_SECONDS
            except (ZygoteFailed, OSError) as error:
                log.error("zygote_failed", reason=str(error))
                pause = min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    def close(self) -> None:
        for zygote in self._by_engine.values():
            zygote.close()
