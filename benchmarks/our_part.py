"""What a wake takes beside forking and loading: arrival until the fork, ready until the answer.

    python benchmarks/our_part.py

Of each cold call, in ms: all of it as the caller sees it; `fork to ready`, which is the predictor's
(the nest's log says it); and what is left of it without that and without what the same call takes
awake. The first call of a new process computes longer than later ones, so what is left is an upper
bound. `in the nest` is the nest's own part of it. Writes benchmarks/results/our_part.json.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from report import report
from skeleton import MODELS, Bench

WAKES = 15


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dm") as home:
        bench = OurPart(Path(home))
        try:
            results = {service: bench.measure(service) for service in MODELS}
        finally:
            bench.stop()
    report(
        "our_part", {f"{s}: {name}": value for s in results for name, value in results[s].items()}
    )


class OurPart(Bench):
    def measure(self, service: str) -> dict[str, Any]:
        self._call(service)
        awake = [self._timed(lambda: self._call(service)) for _ in range(20)]
        cold = [self._wake(service) for _ in range(WAKES)]
        usual = statistics.median(awake)
        return {
            "a call awake": _spread(awake),
            "a cold call": _spread([each["all"] for each in cold]),
            "fork to ready": _spread([each["wake"] for each in cold]),
            "in the nest": _spread([each["nest"] - each["wake"] for each in cold]),
            "our part": _spread([each["all"] - each["wake"] - usual for each in cold]),
        }

    def _wake(self, service: str) -> dict[str, float]:
        self._sleep(service)
        began = time.perf_counter()
        answer = self._call(service)
        took = (time.perf_counter() - began) * 1000
        cold = float(answer.headers["x-dormouse-cold-start-ms"])
        return {"all": took, "nest": cold, "wake": self._fork_to_ready(service)}

    def _fork_to_ready(self, service: str) -> float:
        lines = (self.home / "logs" / "dormouse.log").read_text().splitlines()
        for line in reversed(lines):
            found = json.loads(line)
            if found.get("event") == "awake" and found.get("service") == service:
                return float(found["wake_ms"])
        raise LookupError(f"the log does not say that {service} woke")


def _spread(values: list[float]) -> str:
    """Least, median and most."""
    return f"{min(values):.1f} / {statistics.median(values):.1f} / {max(values):.1f}"


if __name__ == "__main__":
    main()
