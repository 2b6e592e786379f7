"""P3: memory of the idle platform, without predictors and zygotes, against an idle LiteLLM."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from suite.processes import free_port, memory_mib, pss_mib, started, tree, until
from suite.results import Results
from suite.rounds import spread
from suite.subjects import Subject

_ZYGOTE = "dormouse_predictors.zygote"


@dataclass(frozen=True)
class Idle:
    """In MiB: of each process its share, and all of them as if nothing else ran here."""

    shares: Mapping[str, float]
    alone: float


def platform(folder: Path, *, settle: float) -> Idle:
    """Of a platform that was set up before and started again."""
    home, log = folder / "idle", folder / "idle.log"
    with _up(home, log):
        time.sleep(1)
    with _up(home, log) as pid:
        time.sleep(settle)
        named = {
            each["pid"]: each["name"]
            for each in json.loads((home / "run" / "processes.json").read_text())["processes"]
        }
        pids = [each.pid for each in tree(pid) if _ZYGOTE not in each.cmdline()]
        shares = {named.get(each, "other"): pss_mib([each]) for each in pids}
        return Idle(shares, memory_mib(pids))


def compare(results: Results, ours: Idle, litellm: Subject | None, *, settle: float) -> None:
    """LiteLLM has one model and has just answered one call."""
    for name, mib in ours.shares.items():
        results.note(f"P3: {name}, MiB", round(mib, 1))
    together = sum(ours.shares.values())
    results.note("P3: together, and if nothing else ran, MiB", [round(together), round(ours.alone)])
    if litellm is None:
        return
    time.sleep(settle)
    pids = [each.pid for pid in litellm.pids for each in tree(pid)]
    theirs = pss_mib(pids)
    alone = memory_mib(pids)
    results.note("P3: LiteLLM, and if nothing else ran, MiB", [round(theirs), round(alone)])
    results.note("P3: ratio if nothing else ran", round(ours.alone / alone, 3))
    results.put("P3", spread([together / theirs]))


@contextlib.contextmanager
def _up(home: Path, log: Path) -> Iterator[int]:
    """The supervisor's process id, once the platform is ready."""
    port = free_port()
    environment = {
        "DORMOUSE_HOME": str(home),
        "DORMOUSE_PORT": str(port),
        "DORMOUSE_METRICS_PORT": "0",
    }
    # The benchmark's own paths and settings are none of the platform's.
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    command = [sys.executable, "-m", "dormouse_control", "up"]

    def ready() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            url = f"http://127.0.0.1:{port}/readyz"
            return httpx.get(url, timeout=2, trust_env=False).status_code == 200
        return False

    with started(command, log=log, environment=environment) as process:
        until(ready, "the platform", log=log, seconds=90)
        yield process.pid
