"""T61: names whose name servers never answer take nobody else's threads."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dormouse_control.webhooks import lookups
from dormouse_control.webhooks.lookups import Lookups


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Names that begin with `slow` are found when it is set."""
    found = threading.Event()
    real = socket.getaddrinfo

    def slowly(host: str, *given: Any, **more: Any) -> Any:
        if host.startswith("slow"):
            found.wait()
        return real("127.0.0.1", *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    yield found
    found.set()


def _run(steps: Any) -> None:
    async def with_few_threads() -> None:
        with ThreadPoolExecutor(2) as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            await asyncio.wait_for(steps(), 30)

    asyncio.run(with_few_threads())


async def _hang(found: Lookups, user: str, most: int) -> list["asyncio.Task[list[str]]"]:
    started = [
        asyncio.create_task(found.addresses(user, f"slow{number}.test", 443))
        for number in range(most)
    ]
    await asyncio.sleep(0)
    return started


def test_t61_names_that_hang_hold_up_nobody_else(answering: threading.Event) -> None:
    async def steps() -> None:
        found = Lookups()
        hanging = await _hang(found, "ada", lookups.MOST_OF_A_USER)
        assert await asyncio.to_thread(int, "7") == 7
        with pytest.raises(socket.gaierror):
            await found.addresses("ada", "quick.test", 443)
        assert await found.addresses("bob", "quick.test", 443) == ["127.0.0.1"]

        answering.set()
        assert await asyncio.gather(*hanging) == [["127.0.0.1"]] * lookups.MOST_OF_A_USER
        assert await found.addresses("ada", "quick.test", 443) == ["127.0.0.1"]

    _run(steps)


def test_t61_whoever_gave_up_waiting_leaves_a_thread_that_counts(
    answering: threading.Event,
) -> None:
    async def steps() -> None:
        found = Lookups()
        for task in await _hang(found, "ada", lookups.MOST_OF_A_USER):
            task.cancel()
        with pytest.raises(socket.gaierror):
            await found.addresses("ada", "quick.test", 443)
        answering.set()
        while True:
            try:
                assert await found.addresses("ada", "quick.test", 443) == ["127.0.0.1"]
            except socket.gaierror:
                await asyncio.sleep(0.02)
            else:
                break

    _run(steps)


def test_the_threads_are_bounded(
    monkeypatch: pytest.MonkeyPatch, answering: threading.Event
) -> None:
    monkeypatch.setattr(lookups, "MOST", 3)

    async def steps() -> None:
        found = Lookups()
        hanging = [*await _hang(found, "ada", 2), *await _hang(found, "bob", 1)]
        with pytest.raises(socket.gaierror):
            await found.addresses("cy", "quick.test", 443)
        answering.set()
        await asyncio.gather(*hanging)

    _run(steps)
