"""The models of our service, read again when somebody asks for one that we do not know (MOD-03)."""

import asyncio
import time
from collections.abc import Callable

import structlog

from dormouse.catalog import CatalogError, Model

READ_SECONDS = 1.0
"""At most so often, however many ask for what there is not."""

_log = structlog.get_logger()


class Offer:
    """`models` by name, the same mapping all the time; `read` reads them from the catalogue."""

    def __init__(self, models: dict[str, Model], read: Callable[[], dict[str, Model]]) -> None:
        self._read = read
        self.models = models
        self._looked = time.monotonic()
        self._looking = asyncio.Lock()

    async def has(self, name: str) -> bool:
        if name not in self.models:
            await self._look()
        return name in self.models

    async def _look(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked < READ_SECONDS:
                return
            self._looked = time.monotonic()
            try:
                # What is offered no more stays: nobody is sent here for it, and it may be loaded.
                self.models.update(await asyncio.to_thread(self._read))
            except (CatalogError, OSError, KeyError) as error:
                _log.warning("catalogue not read", error=str(error))
