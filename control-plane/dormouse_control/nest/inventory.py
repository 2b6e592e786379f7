"""What the machine has and what each of our processes took of it: the memory handler's eyes.

All of it blocks for milliseconds (the first question to a GPU's driver for seconds), so it is asked
from a thread. Sizes in MiB.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # the module pynvml has no types

from structlog import get_logger

from dormouse.gpus import NoDriver, handles, open_nvml
from dormouse.machine import Shares, read, shares
from dormouse.memory import Machine

log = get_logger(__name__)

_MIB = 2**20


@dataclass(frozen=True)
class Taken:
    """By one process. `vram_mb`, by GPU, is None if the driver does not name the process: it uses
    none, or is in a container whose processes the driver does not tell apart."""

    ram: Shares
    vram_mb: Mapping[int, float] | None


class Inventory:
    def __init__(self, root: Path = Path("/"), *, nvml: Callable[[], Any] = open_nvml) -> None:
        self._root = root
        self._open_nvml = nvml
        self._opening = threading.Lock()
        self._opened = False
        self._nvml: Any = None
        self._gpus: int | None = None

    def machine(self) -> Machine:
        """As it is now. Raises OSError without a readable /proc."""
        found = read(self._root, self._driver())
        if self._nvml is not None and len(found.gpus) != self._gpus:
            self._gpus = len(found.gpus)
            log.info("gpus", gpus=[f"{gpu.index}: {gpu.name}" for gpu in found.gpus])
        return found

    def taken(self, pid: int) -> Taken | None:
        """None once there is no such process, or where it may not be looked at."""
        ram = shares(pid, self._root)
        return Taken(ram, self._vram(pid)) if ram is not None else None

    def _vram(self, pid: int) -> Mapping[int, float] | None:
        nvml = self._driver()
        if nvml is None:
            return {}
        found: dict[int, float] = {}
        for index, handle in handles(nvml):
            try:
                processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            except nvml.NVMLError:
                continue
            for process in processes:
                if process.pid == pid and process.usedGpuMemory is not None:
                    found[index] = found.get(index, 0.0) + process.usedGpuMemory / _MIB
        return found or None

    def _driver(self) -> Any:
        with self._opening:
            if not self._opened:
                self._opened = True
                try:
                    self._nvml = self._open_nvml()
                except NoDriver as reason:
                    log.info("no_gpus", reason=str(reason))
        return self._nvml
