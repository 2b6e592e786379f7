"""Predictors that were forked and have rehearsed before somebody wanted them."""

import contextlib
import os
import select
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

from dormouse_predictors.rehearsal import NAME
from dormouse_predictors.spares import Spares

SECONDS = 60.0


def until(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return value


def spares(zygote: int) -> set[int]:
    """Those that have rehearsed wait for their zygote, and have one thread and one socket."""
    children = Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()
    return {int(pid) for pid in children if _comm(pid) == "dm-spare"}


def _comm(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def woken_spare(nest: Any, chat_config: Any) -> Any:
    """A predictor that was a spare, and what it said when it was ready."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        there = spares(nest.process.pid)
        predictor = nest.wake(**chat_config)
        ready = predictor.next("ready")
        if ready["pid"] in there:
            return predictor, ready
        predictor.drain(0)
        predictor.wait_closed()
        predictor.close()
        time.sleep(2)  # for a spare to begin and to rehearse
    raise AssertionError("no spare was ever used")


def test_a_spare_becomes_a_predictor_like_any_other(
    nest: Any, chat_config: Any, keys: Any, internal_api: Any
) -> None:
    """With its own name, no privilege to gain, and no trace of the rehearsal."""
    predictor, ready = woken_spare(nest, chat_config)
    assert _comm(str(ready["pid"])) == "dm-chat"
    status = Path(f"/proc/{ready['pid']}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    tasks = Path(f"/proc/{ready['pid']}/task").iterdir()
    assert all("NoNewPrivs:\t1" in (task / "status").read_text() for task in tasks)
    answer = httpx.post(
        f"http://127.0.0.1:{ready['port']}/v1/chat/completions",
        headers={"authorization": f"Bearer {keys.token()}", "x-request-id": "spare-1"},
        json={
            "model": "tiny",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 4,
        },
        timeout=SECONDS,
    )
    assert answer.json()["usage"]["completion_tokens"] == 4
    assert internal_api.of("spare-1")["data"]["model"] == "tiny"
    assert NAME not in {event["data"]["model"] for event in internal_api.events}
    metrics = httpx.get(f"http://127.0.0.1:{ready['metrics_port']}/metrics").text
    assert 'model="tiny"' in metrics
    assert "rehearsal" not in metrics
    own = [*Path(tempfile.gettempdir()).glob("dm-rehearsal-*")]
    assert not [each for each in own if f"/{each.name}" in _files(ready["pid"])]
    predictor.drain(0)
    predictor.wait_closed()
    predictor.close()


def _files(pid: int) -> str:
    return "\n".join(os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir())


def test_a_killed_spare_costs_nobody_anything(nest: Any, chat_config: Any) -> None:
    before = until(lambda: spares(nest.process.pid), "no spare began")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not before & spares(nest.process.pid), "the spare did not end")
    predictor = nest.wake(**chat_config)
    assert predictor.next("ready")["pid"] not in before
    predictor.drain(0)
    predictor.wait_closed()
    predictor.close()
    until(lambda: spares(nest.process.pid) - before, "no other spare began")


def test_a_spare_ends_with_its_zygote(nest_maker: Any) -> None:
    nest = nest_maker("llama")
    [pid] = until(lambda: spares(nest.process.pid), "no spare began")
    nest.process.kill()
    nest.process.wait()
    nest.close()
    until(lambda: not Path(f"/proc/{pid}").exists(), "the spare outlived its zygote")


@pytest.fixture
def play() -> Iterator[Callable[[Callable[[], None]], "Played"]]:
    """Makes one whose rehearsal is a function."""
    with contextlib.ExitStack() as stack:
        yield lambda rehearse: stack.enter_context(contextlib.closing(Played(rehearse)))


class Played:
    """Spares whose rehearsal and part are a few lines."""

    def __init__(self, rehearse: Callable[[], None]) -> None:
        self.nest, self.zygote = socket.socketpair()
        self.spares = Spares(lambda _: rehearse(), self._predict)

    def _predict(self, line: bytes, descriptors: list[int]) -> NoReturn:
        os.write(descriptors[0], line)
        os._exit(0)

    def close(self) -> None:
        self.nest.close()
        self.zygote.close()

    def begin(self) -> None:
        threading.Timer(0.2, self.nest.sendall, [b"x"]).start()
        self.spares.wait_for(self.zygote)
        self.zygote.recv(1)

    def hand(self, line: bytes) -> bytes:
        """What became of it; nothing if it was not taken."""
        hears, speaks = os.pipe()
        taken = self.spares.hand(line, [speaks])
        os.close(speaks)
        with open(hears, "rb") as pipe:
            assert not taken or select.select([pipe], [], [], SECONDS)[0], "it does nothing with it"
            return pipe.read() if taken else b""


@pytest.fixture
def gate() -> Any:
    hears, speaks = os.pipe()
    yield hears, speaks
    os.close(speaks)


def test_a_line_goes_to_the_spare_whole_and_once(play: Any) -> None:
    played = play(lambda: None)
    played.begin()
    long = b"x" * 30_000
    assert until(lambda: played.hand(long), "the spare takes nothing") == long + b"\n"
    assert played.hand(b"a second") == b""


def test_nobody_waits_for_a_spare_that_still_rehearses(play: Any, gate: Any) -> None:
    hears, speaks = gate
    played = play(lambda: assert_read(hears))
    played.begin()
    assert played.hand(b"too early") == b""
    os.write(speaks, b"1")
    assert until(lambda: played.hand(b"now"), "the spare takes nothing") == b"now\n"


def assert_read(descriptor: int) -> None:
    assert os.read(descriptor, 1)


def test_a_rehearsal_that_fails_leaves_no_spare(play: Any, capfd: Any) -> None:
    played = play(lambda: assert_read(os.open(os.devnull, os.O_RDONLY)))
    played.begin()
    until(lambda: "AssertionError" in capfd.readouterr().err, "it did not say why")
    for _ in range(10):
        assert played.hand(b"nobody is there") == b""
        time.sleep(0.01)
