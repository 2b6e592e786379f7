"""Follows the folder of the catalogue: what is dropped in is offered, what goes is not any more."""

import asyncio

import structlog
from starlette.concurrency import run_in_threadpool

from dormouse.catalog import CatalogError
from dormouse_control.runtimes.base import RuntimeUnavailable
from dormouse_control.wiring import Platform

log = structlog.get_logger(__name__)

EVERY_SECONDS = 1.0


async def follow(platform: Platform) -> None:
    """Never returns."""
    told = False  # what runs the predictors may have read another one than we have
    while True:
        try:
            told = not await run_in_threadpool(look, platform) and told
            if not told:
                await run_in_threadpool(platform.runtime.adopt, platform.catalog)
                told = True
        except CatalogError as error:
            log.error("catalog_is_wrong", reason=str(error))
        except (RuntimeUnavailable, OSError) as error:
            log.warning("catalog_not_told", reason=str(error))
        except Exception:
            log.exception("catalog_not_followed")  # and look again: nobody else does
        await asyncio.sleep(EVERY_SECONDS)


def look(platform: Platform) -> bool:
    """Whether there is another catalogue now."""
    changed = platform.live_catalog.look()
    if changed:
        catalog = platform.catalog
        models = sum(len(service.models) for service in catalog.services.values())
        log.info("catalog_changed", services=len(catalog.services), models=models)
    return changed
