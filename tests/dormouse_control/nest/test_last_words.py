"""A real process holds real connections and is killed: what its readers see is written by us."""

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from dormouse_control.nest.last_words import LAST_WORDS, LastWords

PREDICTOR = """
import socket, struct, sys, time
witness = socket.socket(fileno=int(sys.argv[1]))
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
how = sys.argv[2]
connection, _ = server.accept()
connection.recv(65536)
head = b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\n"
head += b"transfer-encoding: chunked\\r\\n\\r\\n"
chunk = b"data: {\\"a\\": 1}\\n\\n"
chunk = b"%x\\r\\n%s\\r\\n" % (len(chunk), chunk)
say = struct.Struct("<cQ").pack
if how != "unheld":
    socket.send_fds(witness, [say(b"+", 7)], [connection.fileno()])
connection.sendall(head + chunk + (chunk[:-9] if how == "torn" else chunk))
if how == "over":
    connection.sendall(b"0\\r\\n\\r\\n")
    witness.send(say(b"-", 7))
if how == "twice over":
    connection.sendall(b"0\\r\\n\\r\\n")
    witness.send(say(b"-", 7))
    witness.send(say(b"-", 7))
    witness.send(say(b"-", 1 << 60))
print("sent", flush=True)
time.sleep(60)
"""


@contextlib.asynccontextmanager
async def dying(how: str) -> AsyncIterator[tuple[subprocess.Popen[str], int]]:
    hears, speaks = socket.socketpair(type=socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", PREDICTOR, str(speaks.fileno()), how],
        pass_fds=[speaks.fileno()],
        stdout=subprocess.PIPE,
        text=True,
    )
    speaks.close()
    LastWords(hears).listen()
    assert process.stdout is not None
    try:
        yield process, int(await asyncio.to_thread(process.stdout.readline))
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        process.stdout.close()
        await asyncio.sleep(0.05)  # for the end of it to be heard


async def read_killed(how: str) -> bytes:
    """What a reader has when the predictor is killed after two chunks."""
    async with dying(how) as (process, port):
        found = b""
        async with (
            httpx.AsyncClient() as client,
            client.stream("GET", f"http://127.0.0.1:{port}/") as answer,
        ):
            assert process.stdout is not None
            await asyncio.to_thread(process.stdout.readline)
            process.send_signal(signal.SIGKILL)
            async for part in answer.aiter_bytes():
                found += part
        return found


def test_the_reader_of_an_open_stream_gets_an_error_and_a_proper_end() -> None:
    body = asyncio.run(read_killed("open"))
    first, second, last, rest = body.split(b"\n\n")
    assert first == second == b'data: {"a": 1}'
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert (error["code"], error["type"], error["param"]) == (
        "predictor_died",
        "server_error",
        None,
    )
    assert rest == b""


@pytest.mark.parametrize("how", ["over", "twice over"])
def test_an_answer_that_was_over_stays_as_it_was(how: str) -> None:
    assert asyncio.run(read_killed(how)) == b'data: {"a": 1}\n\n' * 2


@pytest.mark.parametrize("how", ["torn", "unheld"])
def test_a_stream_that_we_cannot_end_breaks_off_and_is_not_silent(how: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        asyncio.run(read_killed(how))


def test_a_reader_who_does_not_read_holds_nobody_up() -> None:
    async def run() -> None:
        hears, speaks = socket.socketpair(type=socket.SOCK_SEQPACKET)
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                theirs.send(b"x" * 4096)
        LastWords(hears).listen()
        socket.send_fds(speaks, [struct.pack("<cQ", b"+", 1)], [theirs.fileno()])
        theirs.close()
        speaks.close()
        await asyncio.sleep(0.05)
        with ours:
            ours.settimeout(5)
            while part := ours.recv(1 << 20):  # it ends
                last = part
        assert last.endswith(b"x")

    asyncio.run(run())


def descriptors() -> int:
    gc.collect()  # those that an earlier test left to the collector are none of ours
    return len(os.listdir("/proc/self/fd"))


async def as_many_as(before: int) -> None:
    deadline = time.monotonic() + 10
    while descriptors() != before:
        assert time.monotonic() < deadline, os.listdir("/proc/self/fd")
        await asyncio.sleep(0.01)


def test_nothing_is_left_open() -> None:
    async def run() -> None:
        before = descriptors()
        hears, speaks = socket.socketpair(type=socket.SOCK_SEQPACKET)
        LastWords(hears).listen()
        with speaks:
            for number in range(50):
                ours, theirs = socket.socketpair()
                with ours, theirs:
                    message = struct.pack("<cQ", b"+", number)
                    socket.send_fds(speaks, [message], [theirs.fileno()])
                if number % 2:
                    speaks.send(struct.pack("<cQ", b"-", number))
                await asyncio.sleep(0)
        await as_many_as(before)

    asyncio.run(run())


def test_a_number_that_comes_again_gives_the_first_connection_back() -> None:
    async def run() -> None:
        before = descriptors()
        hears, speaks = socket.socketpair(type=socket.SOCK_SEQPACKET)
        LastWords(hears).listen()
        with speaks:
            for _ in range(3):
                ours, theirs = socket.socketpair()
                with ours, theirs:
                    message = struct.pack("<cQ", b"+", 1)
                    socket.send_fds(speaks, [message], [theirs.fileno()])
            await asyncio.sleep(0.05)
        await as_many_as(before)

    asyncio.run(run())


def test_the_last_words_are_one_chunk_and_the_end() -> None:
    length, _, rest = LAST_WORDS.partition(b"\r\n")
    assert rest[int(length, 16) :] == b"\r\n0\r\n\r\n"
