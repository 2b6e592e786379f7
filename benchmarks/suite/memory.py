"""P3: memory of the idle platform, without predictors and zygotes, against an idle LiteLLM."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from suite.processes import free_port, pss_mib, started, tree, until
from suite.results import Results
from suite.rounds import spread
from suite.subjects import Subject

_ZYGOTE = "dormouse_predictors.zygote"


def platform(folder: Path, *, settle: float) -> dict[str, float]:
    """MiB of each process of a platform that was set up before and started again."""
    home, log = folder / "idle", folder / "idle.log"
    with _up(home, log):
        time.sleep(1)
    with _up(home, log) as pid:
        time.sleep(settle)
        named = {
            each["pid"]: each["name"]
            for each in json.loads((home / "run" / "processes.json").read_text())["processes"]
        }
        found: dict[str, float] = {}
        for process in tree(pid):
            if _ZYGOTE not in process.cmdline():
                name = named.get(process.pid, "other")
                found[name] = found.get(name, 0.0) + pss_mib([process.pid])
    return found


def compare(
    results: Results, ours: dict[str, float], litellm: Subject | None, *, settle: float
) -> None:
    """LiteLLM has one model and has just answered one call."""
    for name, mib in ours.items():
        results.note(f"P3: {name}, MiB", round(mib, 1))
    results.note("P3: together, MiB", round(sum(ours.values()), 1))
    if litellm is None:
        return
    time.sleep(settle)
    theirs = pss_mib([each.pid for pid in litellm.pids for each in tree(pid)])
    results.note("P3: LiteLLM, MiB", round(theirs, 1))
    results.put("P3", spread([sum(ours.values()) / theirs]))


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
