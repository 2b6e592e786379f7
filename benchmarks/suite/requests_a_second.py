"""Calls a second, by wrk: embeddings, and predictors that do nothing (S3, S4)."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from suite.frameworks import Framework, first_reply, serving
from suite.offers import Offer
from suite.processes import free_port, started
from suite.results import Results
from suite.rounds import Rounds, interleaved
from suite.standing import Predictors
from suite.subjects import Subject
from suite.wrk import Load, Measured, measure

_VECTOR = 1000
"""An answer with 384 numbers has more bytes than this."""
_SERVER_CORE, _CLIENT_CORE = 0, 1


def embeddings(
    results: Results,
    folder: Path,
    ours: Subject,
    peer: Subject | None,
    *,
    rounds: int,
    seconds: float,
) -> None:
    """S3: one text a call, another one in each, from 32 clients."""
    body = folder / "embeddings.json"
    body.write_text(json.dumps({"model": "MODEL", "input": "TEXT"}))
    paths = {"infinity-emb": "/embeddings"}

    def turn(subject: Subject) -> Measured:
        path = paths.get(subject.name, "/v1/embeddings")
        return measure(subject, Load(32, body, path, least_bytes=_VECTOR), seconds)

    baseline, others = (ours, []) if peer is None else (peer, [ours])
    for subject in (baseline, *others):
        turn(subject)
    found = interleaved(baseline, others, turn, rounds=rounds)
    if peer is not None:
        results.put("S3", found.ratio(ours.name, lambda m: m.rps))
    _details(results, "S3", found, baseline, others)


def doing_nothing(
    results: Results,
    folder: Path,
    offer: Offer,
    peers: Sequence[Framework],
    *,
    rounds: int,
    seconds: float,
) -> None:
    """S4: all processes of a predictor on one core, 16 connections from another. A bare ASGI
    application on uvicorn begins and ends each round."""
    predictors = Predictors(folder)
    loads: dict[str, Load] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(predictors.control_plane())
        bare = stack.enter_context(_bare_asgi(folder))
        loads[bare.name] = _load(folder, bare.name, "/", {"instances": [[0.1, 0.2, 0.3, 0.4]]})
        standing = predictors.start(offer, module="suite.noop", core=_SERVER_CORE)
        found = stack.enter_context(standing)
        ours = Subject("ours", found.port, "", (found.pid,), model=offer.name)
        body = {"model": offer.name, "input": "hello world"}
        loads[ours.name] = _load(folder, ours.name, offer.endpoint, body)
        others = [ours]
        for peer in peers:
            there = stack.enter_context(serving(peer, folder, core=_SERVER_CORE))
            others.append(Subject(peer.name, there.port, "none", (there.pid,)))
            loads[peer.name] = _load(folder, peer.name, peer.path, peer.body)

        def turn(subject: Subject) -> Measured:
            if subject is ours:  # a token lasts a minute
                subject = replace(ours, headers=predictors.headers(offer))
            return measure(subject, loads[subject.name], seconds)

        for subject in (bare, *others):
            turn(subject)
        rounds_found = interleaved(bare, others, turn, rounds=rounds)
    if peers:
        results.put("S4", rounds_found.ratio_to_most("ours", lambda m: m.rps))
    _details(results, "S4", rounds_found, bare, others)


@contextlib.contextmanager
def _bare_asgi(folder: Path) -> Iterator[Subject]:
    port, log = free_port(), folder / "asgi.log"
    script = str(Path(__file__).parent / "echo" / "asgi_echo.py")
    command = ["taskset", "-c", str(_SERVER_CORE), sys.executable, script, str(port)]
    with started(command, log=log) as process:
        first_reply(port, "/", {"a": 1}, time.perf_counter(), log=log)
        yield Subject("bare ASGI", port, "none", (process.pid,))


def _load(folder: Path, name: str, path: str, body: object) -> Load:
    file = folder / f"noop-{name.replace(' ', '')}.json"
    file.write_text(json.dumps(body))
    return Load(16, file, path, core=_CLIENT_CORE)


def _details(
    results: Results, id: str, found: Rounds, baseline: Subject, others: Sequence[Subject]
) -> None:
    names = [None, *(each.name for each in others if found.has(each.name))]
    for name in names:
        rps = -found.best(name, lambda m: -m.rps)
        cpu = found.best(name, lambda m: m.cpu_us)
        p50 = found.best(name, lambda m: m.p50_us)
        title = f"{id}: {name or baseline.name}, best round"
        text = f"{rps:.0f} a second, {cpu:.0f} us CPU a call, p50 {p50 / 1000:.1f} ms"
        results.note(title, text)
        print(f"    {title}: {text}", flush=True)
    results.note(f"{id}: rounds thrown away", found.thrown_away)
