"""Whole answers through every subject: latency, calls a second, CPU a call (G1-G6, G8)."""

from collections.abc import Sequence
from pathlib import Path

from suite.results import Results
from suite.rounds import Rounds, interleaved
from suite.subjects import Subject
from suite.wrk import Load, measure, write_body

SMALL = 200


def small_bodies(
    results: Results,
    folder: Path,
    bare: Subject,
    ours: Subject,
    peers: Sequence[Subject],
    *,
    rounds: int,
    seconds: float,
) -> None:
    body = write_body(folder, SMALL)
    alone = _run(Load(1, body), bare, [ours, *peers], rounds, seconds)
    _details(results, "c=1", alone, [ours, *peers])
    results.put("G1", alone.ratio("ours", lambda m: m.p50_us))
    if alone.has("LiteLLM"):
        results.put("G5a", alone.ratio("ours", lambda m: m.p50_us, "LiteLLM"))
    if alone.has("Portkey"):
        results.put("G5b", alone.ratio("ours", lambda m: m.p50_us, "Portkey"))
    busy = _run(Load(16, body), bare, [ours, *peers], rounds, seconds)
    _details(results, "c=16", busy, [ours, *peers])
    results.put("G2", busy.ratio("ours", lambda m: m.rps))
    if busy.has("LiteLLM"):
        results.put("G3", busy.ratio("ours", lambda m: m.rps, "LiteLLM"))
        results.put("G4", busy.ratio("ours", lambda m: m.cpu_us, "LiteLLM"))


def large_bodies(
    results: Results, folder: Path, bare: Subject, ours: Subject, *, rounds: int, seconds: float
) -> None:
    for id, size in (("G6a", 200_000), ("G6b", 2_000_000)):
        found = _run(Load(1, write_body(folder, size)), bare, [ours], rounds, seconds)
        _details(results, f"c=1, {size // 1000} KB", found, [ours])
        results.put(id, found.ratio("ours", lambda m: m.p50_us))


def many_models(
    results: Results, folder: Path, one: Subject, many: Subject, *, rounds: int, seconds: float
) -> None:
    """`one` and `many` are ours, with so many models; the call is for the last of them."""
    found = _run(Load(1, write_body(folder, SMALL)), one, [many], rounds, seconds)
    results.put("G8", found.ratio(many.name, lambda m: m.p50_us))
    results.note("G8: rounds thrown away", found.thrown_away)


def _run(
    load: Load, baseline: Subject, others: Sequence[Subject], rounds: int, seconds: float
) -> Rounds:
    return interleaved(
        baseline, others, lambda subject: measure(subject, load, seconds), rounds=rounds
    )


def _details(results: Results, title: str, found: Rounds, subjects: Sequence[Subject]) -> None:
    for name in (None, *(each.name for each in subjects if found.has(each.name))):
        p50 = found.best(name, lambda m: m.p50_us)
        cpu = found.best(name, lambda m: m.cpu_us)
        rps = -found.best(name, lambda m: -m.rps)
        text = f"p50 {p50:.0f} us, CPU {cpu:.0f} us a call, {rps:.0f} RPS"
        results.note(f"{title}: {name or 'bare Envoy'}, best round", text)
        if name is not None:
            p99 = found.ratio(name, lambda m: m.p99_us)
            results.note(f"{title}: {name}, p99 / bare Envoy", str(p99))
    results.note(f"{title}: baseline moved within a round by (median)", f"{found.noise:.0%}")
    results.note(f"{title}: rounds thrown away", found.thrown_away)
