"""What else people write predictors with: each with one that gives back what it is given."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # bodies are JSON

import httpx

from suite import installs
from suite.processes import NotReady, free_port, started
from suite.results import Results

_ECHO = Path(__file__).parent / "echo"
_ROW = [0.1, 0.2, 0.3, 0.4]


@dataclass(frozen=True)
class Framework:
    """`command` installs it, if need be, and serves at a port; what it writes goes to a folder."""

    name: str
    path: str
    body: Mapping[str, Any]
    command: Callable[[int, Path], Sequence[str]]
    environment: Mapping[str, str] = field(default_factory=dict)


def _kserve(port: int, _folder: Path) -> list[str]:
    # As lean as its options allow: no second server, no line a call.
    options = [f"--http_port={port}", "--enable_grpc=false"]
    return [str(installs.kserve()), str(_ECHO / "kserve_echo.py"), *options]


def _mlserver(port: int, folder: Path) -> list[str]:
    command = installs.mlserver()
    shutil.copy(_ECHO / "mlserver" / "echo.py", folder)
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,  # a process more for each call to pass through
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": "echo", "implementation": "echo.Echo"}
    (folder / "model-settings.json").write_text(json.dumps(model))
    return [str(command), "start", str(folder)]


def _bentoml(port: int, _folder: Path) -> list[str]:
    command = str(installs.bentoml())
    where = ["--working-dir", str(_ECHO), "--host", "127.0.0.1", "--port", str(port)]
    return [command, "serve", "bentoml_echo:Echo", *where]


def _ray(port: int, folder: Path) -> list[str]:
    return [str(installs.ray()), str(_ECHO / "ray_echo.py"), str(port), str(folder)]


_V2 = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": _ROW}]}

FRAMEWORKS = (
    Framework("KServe", "/v1/models/echo:predict", {"instances": [_ROW]}, _kserve),
    Framework("MLServer", "/v2/models/echo/infer", _V2, _mlserver),
    Framework(
        "BentoML",
        "/echo",
        {"instances": [_ROW]},
        _bentoml,
        {"BENTOML_DO_NOT_TRACK": "true"},
    ),
    Framework("Ray Serve", "/", {"instances": [_ROW]}, _ray, {"RAY_USAGE_STATS_ENABLED": "0"}),
)


@dataclass(frozen=True)
class Started:
    framework: Framework
    port: int
    pid: int
    seconds: float
    """From exec to the first reply."""


@contextlib.contextmanager
def serving(framework: Framework, folder: Path, *, core: int | None = None) -> Iterator[Started]:
    """One of them, all its processes on one core if that is said. Raises `NotInstalled`,
    `NotReady`."""
    port, own = free_port(), folder / framework.name.replace(" ", "")
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir()
    command = list(framework.command(port, own))
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    # Each has its own Python; the benchmark's paths are none of theirs.
    environment = {"PYTHONPATH": "", "PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}"}
    log = folder / f"{own.name}.log"
    began = time.perf_counter()
    with started(command, log=log, environment={**environment, **framework.environment}) as process:
        seconds = first_reply(port, framework.path, framework.body, began, log=log)
        yield Started(framework, port, process.pid, seconds)


def first_reply(
    port: int,
    path: str,
    body: Mapping[str, Any],
    began: float,
    *,
    log: Path,
    headers: Mapping[str, str] | None = None,
) -> float:
    """Seconds since `began` when a call is answered by what it said. Raises `NotReady`."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        while time.perf_counter() - began < 120:
            with contextlib.suppress(httpx.HTTPError):
                answer = client.post(f"http://127.0.0.1:{port}{path}", json=body, headers=headers)
                if answer.status_code == 200 and answer.json():
                    return time.perf_counter() - began
            time.sleep(0.005)
    raise NotReady(f"no reply within two minutes\n{log.read_text(errors='replace')[-1500:]}")


def available(results: Results, folder: Path) -> list[Framework]:
    """Those that start here; why others do not is told."""
    found = []
    for framework in FRAMEWORKS:
        try:
            with serving(framework, folder):
                found.append(framework)
        except (installs.NotInstalled, NotReady, OSError) as error:
            results.missing(framework.name, str(error))
    return found
