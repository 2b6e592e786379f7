"""Ordinary calls beside a flood of logins: how much slower they become, and the memory it takes.

python benchmarks/sign_in.py     # half a minute; writes benchmarks/results/sign_in.json

200 clients sign in again and again, while 10 calls a second ask who is calling. In turn with quiet
times, because the machine's speed drifts.
"""

import itertools
import os
import platform as machine
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil
from report import report

CLIENTS = 200
CALLS_A_SECOND = 10
SECONDS = 5
ROUNDS = 3


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dm") as home:
        bench = Bench(Path(home))
        try:
            results = bench.run()
        finally:
            bench.stop()
    report("sign_in", results)


class Bench:
    def __init__(self, home: Path) -> None:
        self.socket = home / "run" / "control-plane.sock"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dormouse_control", "control-plane"],
            env={
                **os.environ,
                "DORMOUSE_HOME": str(home),
                "DORMOUSE_PROCESS_METRICS_PORT": "0",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.client = self._client()
        self._until_ready()
        login = {"email": "bench@example.org", "password": "a long enough password"}
        self.client.post("/api/v1/registrations", json=login)
        token = self.client.post("/api/v1/sessions", json=login).json()["access_token"]
        self.client.headers["authorization"] = f"Bearer {token}"
        self.number = itertools.count()
        self.statuses: Counter[int] = Counter()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def run(self) -> dict[str, Any]:
        quiet: list[float] = []
        flooded: list[float] = []
        rss = psutil.Process(self.process.pid).memory_info
        before = rss().rss
        for _ in range(ROUNDS):
            quiet += self._calls()
            flooded += self._calls_in_a_flood()
        return {
            "machine": f"{os.cpu_count()} cores, {machine.machine()}",
            "calls, quiet, ms (p50/p99)": _spread(quiet),
            f"calls beside {CLIENTS} clients that sign in, ms": _spread(flooded),
            "p50 flooded / quiet": round(_p(flooded, 50) / _p(quiet, 50), 1),
            "p99 flooded / quiet": round(_p(flooded, 99) / _p(quiet, 99), 1),
            "logins a second, looked at": round(self.statuses[401] / ROUNDS / SECONDS, 1),
            "logins a second, told to come back": round(self.statuses[503] / ROUNDS / SECONDS, 1),
            "other answers": {s: n for s, n in self.statuses.items() if s not in (401, 503)},
            "memory grown, MiB": round((rss().rss - before) / 2**20, 1),
        }

    def _calls(self) -> list[float]:
        found = []
        for _ in range(SECONDS * CALLS_A_SECOND):
            began = time.perf_counter()
            assert self.client.get("/api/v1/me").status_code == 200
            taken = time.perf_counter() - began
            found.append(taken * 1000)
            time.sleep(max(0, 1 / CALLS_A_SECOND - taken))
        return found

    def _calls_in_a_flood(self) -> list[float]:
        over = threading.Event()
        flood = [threading.Thread(target=self._sign_in, args=(over,)) for _ in range(CLIENTS)]
        for thread in flood:
            thread.start()
        try:
            return self._calls()
        finally:
            over.set()
            for thread in flood:
                thread.join()

    def _sign_in(self, over: threading.Event) -> None:
        with self._client() as client:
            while not over.is_set():
                # Another account each time: guesses of one are soon refused without a hash.
                email = f"user{next(self.number)}@example.org"
                body = {"email": email, "password": "a long enough password"}
                answer = client.post("/api/v1/sessions", json=body)
                self.statuses[answer.status_code] += 1
                over.wait(float(answer.headers.get("retry-after", 0)))

    def _client(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.socket))
        return httpx.Client(transport=transport, base_url="http://control-plane", timeout=60)

    def _until_ready(self) -> None:
        for _ in range(400):
            try:
                if self.client.get("/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise SystemExit("the control plane did not start")


def _p(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def _spread(values: list[float]) -> str:
    return f"{_p(values, 50):.1f} / {_p(values, 99):.1f}"


if __name__ == "__main__":
    main()
