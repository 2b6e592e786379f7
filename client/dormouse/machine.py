"""What this machine has for models, and what a process has taken of it. Sizes in MiB.

Main memory is bounded by the machine and by the control group of this process and each group
around it (cgroup v1 and v2); the tightest counts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # the module pynvml has no types

from dormouse.gpus import gpus
from dormouse.memory import Machine, Space

SPARE_MB = 256.0
"""Main memory that models leave to everything else."""

_MIB = 2**20


@dataclass(frozen=True)
class Shares:
    """Of main memory. `private_mb` is what a process has in no file and with no other process: so
    much the machine lacks because of it. `whole_mb` has its share of files, too, whose pages can be
    read again. What it has from the zygote that it was forked from is in neither."""

    whole_mb: float
    private_mb: float


@dataclass(frozen=True)
class _Version:
    """How a version of control groups names what we read."""

    limits: tuple[str, ...]
    usage: str
    file_pages: tuple[str, ...]


_VERSIONS = {
    "cgroup": _Version(
        ("memory.limit_in_bytes",),
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
    "cgroup2": _Version(
        ("memory.max", "memory.high"),
        "memory.current",
        ("inactive_file", "active_file", "slab_reclaimable"),
    ),
}


@dataclass(frozen=True)
class _Group:
    folder: Path
    version: _Version


def read(root: Path = Path("/"), nvml: Any = None) -> Machine:
    """As it is now. `nvml` is the module, initialised, or None for no GPUs. Raises OSError without
    a readable /proc."""
    return Machine(main_memory(root), tuple(gpus(nvml)) if nvml is not None else ())


def main_memory(root: Path = Path("/")) -> Space:
    """What all models together may take, and what of it is free or can be had back at once (file
    pages that nobody has changed). Raises OSError without a readable /proc."""
    numbers = _numbers((root / "proc/meminfo").read_text().splitlines())
    total, free = numbers["MemTotal"] * 1024, numbers["MemAvailable"] * 1024
    for group in _groups(root):
        limit = _limit(group)
        used = _number(group.folder / group.version.usage)
        if limit is None or used is None:
            continue
        total = min(total, limit)
        free = min(free, limit - used + _reclaimable(group))
    return Space(max(0.0, total / _MIB - SPARE_MB), max(0.0, free / _MIB - SPARE_MB))


def shares(process: int | str, root: Path = Path("/")) -> Shares | None:
    """Of a process id, or of "self". None once there is no such process, or where it may not be
    looked at. Takes 20 ms for each GiB that the process has in memory."""
    numbers = _numbers(_lines(root / f"proc/{process}/smaps_rollup"))
    if "Pss" not in numbers:
        return None
    # Kernels before 5.5 do not tell files apart; what they call dirty is nearly always in none.
    private = min(numbers["Private_Dirty"], numbers.get("Pss_Anon", numbers["Private_Dirty"]))
    files = numbers.get("Pss_File", numbers["Private_Clean"])
    private += numbers.get("Pss_Shmem", 0)
    return Shares((private + files) / 1024, private / 1024)


def _groups(root: Path) -> Iterator[_Group]:
    """Ours and those around it, as far up as they can be seen, wherever they are mounted."""
    ours = _paths_of_groups(root)
    for line in _lines(root / "proc/self/mountinfo"):
        fields, _, rest = line.partition(" - ")
        if not rest:
            continue
        top, mounted = fields.split()[3:5]
        kind, _, options = rest.split()[:3]
        version = _VERSIONS.get(kind)
        controller = "" if kind == "cgroup2" else "memory"
        if version is None or controller not in ours:
            continue
        if controller and controller not in options.split(","):
            continue
        mount = root / mounted.lstrip("/")
        # In a container, what is mounted may be a part of the tree, and the path not in it.
        path = ours[controller]
        below = [part for part in path.removeprefix(top.rstrip("/")).split("/") if part]
        for deep in range(0 if ".." in below else len(below), -1, -1):
            yield _Group(mount.joinpath(*below[:deep]), version)


def _paths_of_groups(root: Path) -> dict[str, str]:
    """Controller (none is version 2) to the path of our group."""
    found = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _limit(group: _Group) -> int | None:
    found = [_number(group.folder / name) for name in group.version.limits]
    return min((each for each in found if each is not None), default=None)


def _reclaimable(group: _Group) -> int:
    stat = _numbers(_lines(group.folder / "memory.stat"))
    return sum(stat.get(name, 0) for name in group.version.file_pages)


def _number(path: Path) -> int | None:
    """None if there is no such file, or it says "max"."""
    text = next(iter(_lines(path)), "")
    return int(text) if text.isdecimal() else None


def _numbers(lines: Iterable[str]) -> dict[str, int]:
    """Of lines like "MemTotal:  123 kB" and "inactive_file 123"."""
    found = {}
    for line in lines:
        name, _, rest = line.partition(" ")
        number = rest.split()[:1]
        if number and number[0].isdecimal():
            found[name.rstrip(":")] = int(number[0])
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
