"""Wakes against what anybody would start by hand, and our own part of them (C1, C2, C4)."""

import contextlib
import http.client
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite import models
from suite.offers import Offer
from suite.results import Results
from suite.rounds import spread
from suite.whole import Whole

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Wake:
    """Seconds until the first byte, and how many of them were ours: what is not the predictor's
    start, the load of the model and the work on the call."""

    first_byte: float
    own: float
    loading: float


def against_bare(
    results: Results, platform: Whole, embeddings: Offer, llama: Offer, *, rounds: int
) -> None:
    """C1, C2, C4. Files are in the page cache, the zygotes' imports are done."""
    for offer in (embeddings, llama):
        models.warm(offer.path)
        platform.ask(offer)
    c1 = _compare(results, "C1", platform, embeddings, _bare_embeddings, rounds)
    results.put("C4a", spread([1000 * wake.own for wake in c1]))
    c2 = _compare(results, "C2", platform, llama, _bare_llama, rounds)
    results.put("C4b", spread([1000 * wake.own for wake in c2]))


def _compare(
    results: Results,
    id: str,
    platform: Whole,
    offer: Offer,
    bare: Callable[[Offer], float],
    rounds: int,
) -> list[Wake]:
    bare(offer)  # what it reads is in the page cache too
    wakes, bares = [], []
    for _ in range(rounds):
        wakes.append(wake(platform, offer))
        bares.append(bare(offer))
    pairs = zip(wakes, bares, strict=True)
    results.put(id, spread([ours.first_byte / theirs for ours, theirs in pairs]))
    _note(results, f"{id}: asleep to first byte, ms", [each.first_byte for each in wakes])
    _note(results, f"{id}: fork to ready, ms", [each.loading for each in wakes])
    _note(results, f"{id}: bare, ms", bares)
    return wakes


def _note(results: Results, title: str, seconds: list[float]) -> None:
    results.note(title, str(spread([1000 * each for each in seconds])))
    print(f"    {title}: {1000 * statistics.median(seconds):.1f}", flush=True)


def wake(platform: Whole, offer: Offer) -> Wake:
    """By the log: from the call to `waking`, which is said right before the fork, and from `ready`
    of the predictor to the call's start there, which is its end less what it took."""
    platform.sleep(offer.name)
    time.sleep(1)  # the process that fell asleep is gone, but its parts are still tidied up
    began = time.time()
    reply = platform.ask(offer)
    process = f"predictor:{offer.name}"
    forked, _ = platform.said("waking", began, service=offer.name)
    ready, _ = platform.said("ready", forked, process=process)
    ended, call = platform.said("call", forked, process=process)
    handed_over = max(0.0, ended - call["ms"] / 1000 - ready)
    return Wake(reply.first_byte, forked - began + handed_over, ready - forked)


def _bare_embeddings(offer: Offer) -> float:
    """From exec to the first byte, for a call that waits at its socket all the while."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        connection = http.client.HTTPConnection("127.0.0.1", listening.getsockname()[1])
        connection.request("POST", "/", json.dumps({"input": "hello world"}))
        script = str(_HERE / "bare_embeddings.py")
        descriptor = listening.fileno()
        command = [sys.executable, script, str(offer.path), str(descriptor)]
        began = time.perf_counter()
        with _running(command, pass_fds=[descriptor]) as process:
            # Should it die, nobody would answer.
            listening.close()
            answer = connection.getresponse()
            taken = time.perf_counter() - began
            document = json.loads(answer.read())
            connection.close()
            process.wait(60)
    if len(document["data"][0]["embedding"]) != 384:
        raise RuntimeError("the bare script answered no vector of MiniLM")
    return taken


def _bare_llama(offer: Offer) -> float:
    """From exec to the first token."""
    script = str(_HERE / "bare_llama.py")
    command = [sys.executable, script, str(offer.path), str(offer.context), str(offer.cpus)]
    began = time.perf_counter()
    with _running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        taken = time.perf_counter() - began
        process.wait(60)
    if said != b"1\n":
        raise RuntimeError("the bare script made no token")
    return taken


@contextlib.contextmanager
def _running(
    command: list[str], *, pass_fds: Sequence[int] = (), stdout: int = subprocess.DEVNULL
) -> "Iterator[subprocess.Popen[bytes]]":
    """Killed if the block is left before it ended."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        pass_fds=pass_fds,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
