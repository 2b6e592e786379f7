"""What authorizers hear of their calls, over real sockets."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dormouse.events import UsageEvent
from dormouse.meters import Meters, decode
from dormouse.tokens import InternalClaims
from dormouse_predictors import meter_records, meters
from dormouse_predictors.meters import Metering

CLAIMS = InternalClaims(
    "usr_1", "key_1", "chat", "tiny", 1, 0, authorizer="unix:meters-a.sock", account=7
)
EVENT = UsageEvent(
    "r", "2027-01-15T08:00:00Z", "u", "k", "chat", "tiny", "completions", "completed", 3, 5, 1
)


class Authorizer:
    """Keeps the latest record of each account, and when datagrams came."""

    def __init__(self, family: socket.AddressFamily, address: Any) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)
        self.latest: dict[int, Meters] = {}
        self.came: list[float] = []
        self.predictors: set[bytes] = set()

    def hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                predictor, records = decode(self.socket.recv(1 << 17))
                self.predictors.add(predictor)
                self.came.append(time.monotonic())
                self.latest |= {record.account: record for record in records}

    async def until(self, condition: Callable[[], bool], seconds: float = 5) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.latest
            await asyncio.sleep(0.002)
            self.hear()


@pytest.fixture
def authorizer(short_path: Path) -> Iterator[Authorizer]:
    path = short_path / "meters-a.sock"
    path.unlink(missing_ok=True)
    found = Authorizer(socket.AF_UNIX, str(path))
    yield found
    found.socket.close()


def run(script: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(script())  # type: ignore[arg-type]


def test_a_call_is_told_when_it_comes_and_when_it_ends(
    short_path: Path, authorizer: Authorizer
) -> None:
    async def script() -> None:
        metering = Metering(short_path, lambda event: event.completion_tokens * 1000)
        record = metering.begin(CLAIMS)
        await authorizer.until(lambda: 7 in authorizer.latest)
        assert authorizer.latest[7] == Meters(7, 1, 0, 0, 0, 0)
        metering.end(CLAIMS, record, EVENT)
        await authorizer.until(lambda: authorizer.latest[7].ended == 1)
        assert authorizer.latest[7] == Meters(7, 1, 1, 3, 5, 5000)
        refused = metering.begin(CLAIMS)
        metering.end(CLAIMS, refused, None)
        await authorizer.until(lambda: authorizer.latest[7].ended == 2)
        assert authorizer.latest[7] == Meters(7, 2, 2, 3, 5, 5000)
        assert authorizer.predictors == {metering.identity}
        metering.close()

    run(script)


def test_many_changes_are_few_datagrams(short_path: Path, authorizer: Authorizer) -> None:
    async def script() -> None:
        metering = Metering(short_path, lambda _: 1)
        start = time.monotonic()
        for number in range(1000):
            claims = replace(CLAIMS, account=number % 50)
            metering.end(claims, metering.begin(claims), EVENT)
            await asyncio.sleep(0)
        took = time.monotonic() - start
        await authorizer.until(
            lambda: sum(each.ended for each in authorizer.latest.values()) == 1000
        )
        assert len(authorizer.came) <= took / meters.SOON_SECONDS + 2
        metering.close()

    run(script)


def test_while_a_call_runs_it_is_told_twice_a_second(
    short_path: Path, authorizer: Authorizer
) -> None:
    async def script() -> None:
        metering = Metering(short_path, lambda _: 1)
        record = metering.begin(CLAIMS)
        other = replace(CLAIMS, account=8)
        metering.end(other, metering.begin(other), None)
        await authorizer.until(lambda: len(authorizer.came) >= 7, 4)
        assert authorizer.came[6] - authorizer.came[1] > 2.4
        authorizer.latest.clear()
        await authorizer.until(lambda: bool(authorizer.latest))
        assert set(authorizer.latest) == {7}  # 8 has nothing to say any more
        metering.end(CLAIMS, record, None)
        await asyncio.sleep(meter_records.REPEAT_SECONDS + 1.1)
        authorizer.hear()
        count = len(authorizer.came)
        await asyncio.sleep(1.1)
        authorizer.hear()
        assert len(authorizer.came) == count  # nor has anybody
        metering.close()

    run(script)


def test_an_authorizer_that_is_away_or_does_not_read_hears_it_later(short_path: Path) -> None:
    async def script() -> None:
        path = short_path / "meters-b.sock"
        claims = replace(CLAIMS, authorizer="unix:meters-b.sock")
        metering = Metering(short_path, lambda _: 1)
        metering.end(claims, metering.begin(claims), EVENT)
        await asyncio.sleep(0.05)
        late = Authorizer(socket.AF_UNIX, str(path))
        await late.until(lambda: 7 in late.latest)
        for number in range(3000):  # nobody reads: its queue is full at once
            other = replace(claims, account=100 + number)
            metering.end(other, metering.begin(other), EVENT)
            if number % 10 == 0:
                await asyncio.sleep(0.006)
        await late.until(lambda: len(late.latest) == 3001)
        assert all((each.began, each.ended) == (1, 1) for each in late.latest.values())
        metering.close()
        late.socket.close()

    run(script)


@pytest.mark.parametrize(
    ("family", "host", "shown"),
    [(socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "[::1]")],
)
def test_authorizers_elsewhere_are_told_by_udp(
    family: socket.AddressFamily, host: str, shown: str
) -> None:
    async def script() -> None:
        found = Authorizer(family, (host, 0))
        claims = replace(CLAIMS, authorizer=f"udp:{shown}:{found.socket.getsockname()[1]}")
        metering = Metering(None, lambda _: 1)
        for account in range(100):
            other = replace(claims, account=account)
            metering.end(other, metering.begin(other), EVENT)
        await found.until(lambda: len(found.latest) == 100)
        metering.close()
        found.socket.close()

    run(script)


@pytest.mark.parametrize(
    "address",
    [
        "unix:../secret.sock",
        "unix:",
        "unix:..",
        "unix:a/b",
        "udp:localhost:80",
        "udp:127.0.0.1:0",
        "udp:127.0.0.1:65536",
        "udp:127.0.0.1",
        "tcp:127.0.0.1:80",
        "nonsense",
    ],
)
def test_an_address_that_is_none_harms_no_call(short_path: Path, address: str) -> None:
    async def script() -> None:
        metering = Metering(short_path, lambda _: 1)
        claims = replace(CLAIMS, authorizer=address)
        record = metering.begin(claims)
        assert record is None
        metering.end(claims, record, EVENT)
        metering.close()

    run(script)


def test_calls_of_no_account_are_not_metered(short_path: Path) -> None:
    async def script() -> None:
        metering = Metering(short_path, lambda _: 1)
        for claims in (replace(CLAIMS, account=None), replace(CLAIMS, authorizer=None)):
            assert metering.begin(claims) is None
            metering.end(claims, None, EVENT)

    run(script)


def test_who_is_quiet_for_long_is_forgotten_unless_something_is_open(
    short_path: Path, authorizer: Authorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter_records, "FORGET_SECONDS", 0.2)
    monkeypatch.setattr(meters, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(meters, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(meter_records, "REPEAT_SECONDS", 0.1)

    async def script() -> None:
        metering = Metering(short_path, lambda _: 1)
        open_one, over = CLAIMS, replace(CLAIMS, account=8)
        metering.begin(open_one)
        metering.end(over, metering.begin(over), EVENT)
        await asyncio.sleep(0.6)
        metering.end(over, metering.begin(over), EVENT)
        metering.begin(open_one)
        await authorizer.until(lambda: 7 in authorizer.latest and authorizer.latest[7].began == 2)
        assert authorizer.latest[8] == Meters(8, 1, 1, 3, 5, 1)
        metering.close()

    run(script)
