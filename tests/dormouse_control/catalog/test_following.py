"""The folder is followed whatever goes wrong once."""

import asyncio

import pytest
from structlog.testing import capture_logs

from dormouse.catalog import Catalog
from dormouse_control.catalog import following
from dormouse_control.wiring import Platform


@pytest.mark.parametrize(
    ("error", "event"),
    [(OSError("full"), "catalog_not_told"), (RecursionError(), "catalog_not_followed")],
    ids=["known", "ours"],
)
def test_an_error_is_said_and_the_catalogue_told_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, error: Exception, event: str
) -> None:
    told = asyncio.Event()
    failures = [error]

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def adopt(_: Catalog) -> None:
            if failures:
                raise failures.pop()
            loop.call_soon_threadsafe(told.set)

        monkeypatch.setattr(platform.runtime, "adopt", adopt, raising=False)
        following_it = asyncio.create_task(following.follow(platform))
        async with asyncio.timeout(20):
            await told.wait()
        following_it.cancel()

    with capture_logs() as logs:
        asyncio.run(run())
    said = [each["event"] for each in logs if each["event"].startswith("catalog_not")]
    assert said == [event]
