"""Who follows revocations hears of them at their commit, not at the next look."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from dormouse_control.app import internal_app
from dormouse_control.db import connect
from dormouse_control.identity import revocations
from dormouse_control.identity.models import RevocationKind
from dormouse_control.internal import api, bell
from dormouse_control.wiring import Platform

NOBODY = RevocationKind.USER, "usr_nobody"


@pytest.fixture
def heard(internal: TestClient, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A long poll under way, which by itself would look again only when it gives up."""
    looked, answers = threading.Event(), []
    look = api._look

    def watched(platform: Platform, after: int) -> Any:
        found = look(platform, after)
        looked.set()
        return found

    monkeypatch.setattr(api, "_look", watched)

    def follow() -> None:
        answers.append(internal.get("/internal/v1/revocations?after=0&wait=10").json())

    thread = threading.Thread(target=follow)
    thread.start()
    assert looked.wait(10)

    def finish(seconds: float) -> Any:
        thread.join(seconds)
        return answers

    yield finish
    thread.join()


@contextmanager
def _listening(bell_: bell.Bell, name: str) -> Iterator[None]:
    async def listen() -> None:
        with bell_.listening(name, 0):
            pass

    asyncio.run(listen())
    yield


@pytest.fixture
def watch(platform: Platform) -> Iterator[Callable[..., None]]:
    """Has the bell watched as in the control plane's process."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def last() -> int:
        with platform.database.reads() as reading:
            return revocations.last(reading)

    watching: list[Any] = []

    def begin(newest: Callable[[], int] = last) -> None:
        watching.append(asyncio.run_coroutine_threadsafe(platform.bell.watch(newest), loop))

    yield begin
    for each in watching:
        each.cancel()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def revoke_elsewhere(platform: Platform) -> Iterator[Callable[[], None]]:
    """By a connection of its own: nothing of ours hears of the commit."""
    address = platform.database.engine.url.render_as_string(hide_password=False)
    other = connect(address)

    def revoke() -> None:
        with other.sessions.begin() as session:
            revocations.record(session, *NOBODY, now=platform.clock())

    yield revoke
    other.engine.dispose()


class Follower:
    """Asks for revocations under a name, each time in a thread of its own."""

    def __init__(self, internal: TestClient, name: str) -> None:
        self._internal = internal
        self._name = name
        self._answers: queue.Queue[Any] = queue.Queue()
        self._threads: list[threading.Thread] = []

    def asks(self, after: int) -> None:
        query = f"after={after}&wait=1&follower={self._name}"

        def ask() -> None:
            self._answers.put(self._internal.get(f"/internal/v1/revocations?{query}").json())

        self._threads.append(threading.Thread(target=ask))
        self._threads[-1].start()

    def hears(self) -> Any:
        return self._answers.get(timeout=5)

    def end(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def heard_by(internal: TestClient, platform: Platform) -> Iterator[Callable[[str], Follower]]:
    """A follower who asks, and is known to the bell."""
    made: list[Follower] = []

    def make(name: str) -> Follower:
        follower = Follower(internal, name)
        made.append(follower)
        follower.asks(after=0)
        while name not in platform.bell._heard:
            time.sleep(0.01)
        return follower

    yield make
    for follower in made:
        follower.end()


def test_a_commit_is_heard_at_once(heard: Any, platform: Platform) -> None:
    with platform.database.sessions.begin() as session:
        revocations.record(session, *NOBODY, now=platform.clock())

    [answer] = heard(5)
    assert [item["id"] for item in answer["items"]] == ["usr_nobody"]


def test_what_is_rolled_back_rings_nothing(heard: Any, platform: Platform) -> None:
    session = platform.database.sessions()
    revocations.record(session, *NOBODY, now=platform.clock())
    session.rollback()
    session.commit()
    session.close()

    assert heard(0.5) == []


def test_a_commit_waits_until_a_follower_has_acted(heard_by: Any, platform: Platform) -> None:
    follower = heard_by("authorizer-1")
    committed = threading.Event()

    def commit() -> None:
        with platform.database.sessions.begin() as session:
            revocations.record(session, *NOBODY, now=platform.clock())
        committed.set()

    thread = threading.Thread(target=commit)
    thread.start()
    news = follower.hears()
    assert [item["id"] for item in news["items"]] == ["usr_nobody"]
    assert not committed.wait(0.1)  # it has heard, but nobody knows whether it has acted
    follower.asks(after=news["last"])
    assert committed.wait(5)
    thread.join()


def test_who_does_not_act_is_waited_for_once(heard_by: Any, platform: Platform) -> None:
    follower = heard_by("authorizer-1")
    took = []
    for _ in range(2):
        began = time.monotonic()
        with platform.database.sessions.begin() as session:
            revocations.record(session, *NOBODY, now=platform.clock())
        took.append(time.monotonic() - began)
    follower.hears()
    assert took[0] >= bell.HEARD_SECONDS > took[1]


def test_nobody_waits_for_who_hung_up(platform: Platform) -> None:
    with _listening(platform.bell, "gone"):
        pass
    platform.bell.leaves("gone")
    began = time.monotonic()
    with platform.database.sessions.begin() as session:
        revocations.record(session, *NOBODY, now=platform.clock())
    assert time.monotonic() - began < bell.HEARD_SECONDS


def test_commits_of_other_processes_are_heard_of_soon(
    heard: Any, watch: Callable[..., None], revoke_elsewhere: Callable[[], None]
) -> None:
    watch()
    revoke_elsewhere()
    [answer] = heard(5)
    assert [item["id"] for item in answer["items"]] == ["usr_nobody"]


@pytest.mark.parametrize("hangs", [True, False])
def test_a_database_that_is_away_for_a_while_is_asked_again(
    heard: Any,
    watch: Callable[..., None],
    revoke_elsewhere: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    hangs: bool,
) -> None:
    monkeypatch.setattr(bell, "LOST_SECONDS", 0.2)
    failed, there = threading.Event(), threading.Event()

    def newest() -> int:
        if not failed.is_set():
            failed.set()
            if not hangs:
                raise OSError("away")
            there.wait(60)
        return 1

    watch(newest)
    try:
        assert failed.wait(5)
        assert heard(0.5) == []
        revoke_elsewhere()
        assert heard(5)
    finally:
        there.set()


def test_who_hangs_up_is_noticed_at_once(platform: Platform) -> None:
    sent: list[Any] = []

    async def scene() -> None:
        gone = asyncio.Event()
        given = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            found = next(given, None)
            if found is None:
                await gone.wait()
                return {"type": "http.disconnect"}
            return found

        async def send(message: Any) -> None:
            sent.append(message)

        query = b"after=0&wait=20&follower=one"
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/internal/v1/revocations",
            "query_string": query,
            "headers": [],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("x", 1),
            "client": None,
            "root_path": "",
        }
        call = asyncio.create_task(internal_app(platform)(scope, receive, send))
        while "one" not in platform.bell._heard:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        gone.set()
        await asyncio.wait_for(call, 5)
        assert "one" not in platform.bell._heard

    asyncio.run(scene())
