"""Closed-loop load by wrk: latency, calls a second and the CPU that each call costs the subject."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from suite.processes import cpu_seconds
from suite.subjects import Subject

MOST_ERRORS = 0.001


class Errors(Exception):
    """More calls failed than a measurement may have."""


@dataclass(frozen=True)
class Load:
    """`body` is a file whose MODEL is replaced by the subject's model, and TEXT by another text in
    each call. An answer shorter than `least_bytes` is none. wrk runs on `core`, if that is said."""

    connections: int
    body: Path
    path: str = "/v1/chat/completions"
    least_bytes: int = 0
    core: int | None = None


@dataclass(frozen=True)
class Measured:
    """Of one subject in one round; CPU of all its processes, in microseconds a call."""

    p50_us: float
    p99_us: float
    rps: float
    cpu_us: float


def measure(subject: Subject, load: Load, seconds: float) -> Measured:
    """Raises `Errors`."""
    headers = [part for pair in subject.all_headers().items() for part in pair]
    pinned = [] if load.core is None else ["taskset", "-c", str(load.core)]
    before = cpu_seconds(subject.pids)
    said = subprocess.run(
        [
            *pinned, "wrk", "-t1", f"-c{load.connections}", f"-d{max(1, round(seconds))}s",
            "--latency", "--timeout", "30s", "-s", str(Path(__file__).with_name("call.lua")),
            f"{subject.url}{load.path}", "--", str(load.body), subject.model, *headers,
        ],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    cpu = cpu_seconds(subject.pids) - before
    found = json.loads(said.rpartition("RESULT ")[2])
    if not found["calls"] or found["bad"] > MOST_ERRORS * found["calls"]:
        raise Errors(f"{subject.name}: {found['bad']} of {found['calls']} calls failed\n{said}")
    if found["bytes"] < load.least_bytes * found["calls"]:
        raise Errors(f"{subject.name}: answers are shorter than {load.least_bytes} bytes\n{said}")
    return Measured(
        found["p50_us"],
        found["p99_us"],
        found["calls"] / found["seconds"],
        cpu / found["calls"] * 1e6,
    )


def write_body(folder: Path, size: int) -> Path:
    """A chat of about `size` bytes; the model's name stands first, as OpenAI's clients write it."""
    path = folder / f"body-{size}.json"
    text = "hello " * (size // 6)
    path.write_text(
        '{"model":"MODEL","messages":[{"role":"user","content":"' + text + '"}],"max_tokens":8}'
    )
    return path
