"""What the nest gets to hold of our streams, and until when."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from dormouse_predictors.errors import CallError
from dormouse_predictors.witness import DESCRIPTOR, Witness
from fixtures.predictor_bench import BODY

MESSAGE = struct.Struct("<cQ")


class Nest:
    """Keeps the connections that it is given."""

    def __init__(self) -> None:
        self.socket, self.theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)
        self.held: dict[int, int] = {}
        self.heard: list[tuple[bytes, int]] = []

    def hear(self) -> None:
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self.socket, 64, 1)
            except BlockingIOError:
                return
            if not message:
                return
            self.heard.append(MESSAGE.unpack(message))
            kind, number = self.heard[-1]
            if kind == b"+":
                (self.held[number],) = descriptors
            else:
                os.close(self.held.pop(number))

    def close(self) -> None:
        for descriptor in self.held.values():
            os.close(descriptor)
        self.socket.close()
        self.theirs.close()


@pytest.fixture
def nest() -> Iterator[Nest]:
    nest = Nest()
    yield nest
    nest.close()


def run(script: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(script())  # type: ignore[arg-type]


def scope_of(connection: socket.socket | None) -> dict[str, Any]:
    return {"extensions": {DESCRIPTOR: lambda: connection and connection.fileno()}}


def test_a_connection_is_held_until_its_answer_is_over(nest: Nest) -> None:
    async def script() -> None:
        ours, theirs = socket.socketpair()
        witness = Witness(nest.theirs)
        release = witness.hold(scope_of(theirs))
        nest.hear()
        (number,) = nest.held
        with ours:
            theirs.close()
            os.write(nest.held[number], b"in our place")
            assert ours.recv(100) == b"in our place"
            release()
            nest.hear()
            assert nest.held  # what was written last is still on its way
            await asyncio.sleep(0.01)
            nest.hear()
            assert (nest.held, ours.recv(100)) == ({}, b"")

    run(script)


def test_the_end_of_an_answer_is_told_however_busy_the_nest_is(nest: Nest) -> None:
    async def script() -> None:
        ours, theirs = socket.socketpair()
        witness = Witness(nest.theirs)
        releases = [witness.hold(scope_of(theirs)) for _ in range(2000)]
        for release in releases:
            release()
        for _ in range(200):
            await asyncio.sleep(0.005)
            nest.hear()
            if sum(kind == b"-" for kind, _ in nest.heard) == len(nest.heard) // 2 > 10:
                break
        assert nest.held == {}
        again = witness.hold(scope_of(theirs))  # there is room again
        again()
        await asyncio.sleep(0.02)
        nest.hear()
        assert [kind for kind, _ in nest.heard[-2:]] == [b"+", b"-"]
        witness.close()
        ours.close()
        theirs.close()

    run(script)


def test_without_a_nest_answers_go_on(nest: Nest) -> None:
    async def script() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for witness in (Witness(None), Witness(nest.theirs)):
                nest.socket.close()
                witness.hold(scope_of(theirs))()
                witness.hold(scope_of(None))()
                witness.hold({})()
                await asyncio.sleep(0.01)
                witness.close()
                witness.hold(scope_of(theirs))()

    run(script)


@pytest.mark.parametrize(("stream", "held"), [(True, 1), (False, 0)])
def test_only_streams_are_held_and_all_are_given_back(
    bench: Any, nest: Nest, stream: bool, held: int
) -> None:
    async def script() -> None:
        async with bench() as b:
            b.app._witness = Witness(nest.theirs)
            ours, theirs = socket.socketpair()
            for leaves in (False, True):
                answer = b.call(BODY | {"stream": stream}, extensions=scope_of(theirs))
                await answer.until(lambda: b.engine.running)
                b.engine.go.release()
                await asyncio.sleep(0.05)
                nest.hear()
                assert len(nest.held) == held
                if leaves:
                    answer.leave.set()
                else:
                    b.engine.go.release(2)
                await answer.done()
                await asyncio.sleep(0.01)
                nest.hear()
                assert nest.held == {}
            ours.close()
            theirs.close()

    run(script)


@pytest.mark.parametrize("leaves", [False, True])
def test_a_stream_that_fails_before_it_reaches_the_engine_is_given_back(
    bench: Any, nest: Nest, leaves: bool
) -> None:
    async def script() -> None:
        async with bench() as b:
            fails = asyncio.Event()

            async def fetch() -> None:
                await fails.wait()
                raise CallError(503, "waking_failed", "No weights.", retry_after=10)

            b.app._witness = Witness(nest.theirs)
            b.app._fetch = lambda _: fetch()
            ours, theirs = socket.socketpair()
            answer = b.call(
                BODY | {"stream": True}, extensions=scope_of(theirs), prefer="dormouse-progress"
            )
            await answer.until(lambda: b": dormouse" in answer.body)
            nest.hear()
            assert len(nest.held) == 1
            (answer.leave if leaves else fails).set()
            await answer.done()
            await asyncio.sleep(0.01)
            nest.hear()
            assert nest.held == {}
            assert [kind for kind, _ in nest.heard] == [b"+", b"-"]
            assert (b"waking_failed" in answer.body) is not leaves
            ours.close()
            theirs.close()

    run(script)
