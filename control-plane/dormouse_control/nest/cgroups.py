"""A control group (cgroup v2) for each predictor, where the machine lets us make any.

A predictor enters its group by itself, through `Group.entrance`, before it runs any engine's code.
Memory is what its service states, and `ALLOWANCE` for what all predictors need. Processors are
shared by weight and not capped: a wake on an idle machine may have all of them, and under
pressure each service gets its part.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from structlog import get_logger

log = get_logger(__name__)

ALLOWANCE = 256 << 20
"""Bytes. A fork shares the engine's modules with its zygote; this is for what it writes to."""

CONTROLLERS = ("memory", "cpu", "pids")
PLATFORM = "platform"
"""Ours and the gateway's: a group that has groups below may hold no process itself."""

_PREFIX = "predictor-"
_MOUNT = Path("/sys/fs/cgroup")
_MOVES = 20
_TRIES = 200
_TRY_SECONDS = 0.05


@dataclass(frozen=True)
class Limits:
    """`memory` in bytes, `cpus` in whole processors or parts, `threads` with processes."""

    memory: int
    cpus: float
    threads: int


@dataclass(frozen=True)
class Group:
    """Of one predictor. `entrance`: whoever writes "0" to it is in."""

    service: str
    folder: Path
    limits: Limits
    entrance: int

    def entered(self) -> None:
        """The predictor has the entrance: close ours."""
        os.close(self.entrance)

    def end(self) -> bool:
        """Once the predictor is gone: say it if it was killed for its memory, and remove the group.
        False if it is not empty yet."""
        kills = _number(self.folder / "memory.events", "oom_kill")
        try:
            self.folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        if kills:
            log.error(
                "predictor_killed_for_memory",
                service=self.service,
                group=self.folder.name,
                limit_bytes=self.limits.memory + ALLOWANCE,
                kills=kills,
            )
        return True


class Groups:
    """All groups below `root`; None: there are none. `limit_memory`: they can."""

    def __init__(self, root: Path | None, *, limit_memory: bool = False) -> None:
        self._root = root
        self.limit_memory = limit_memory
        self._ours: set[str] = set()

    def make(self, service: str, instance: str, limits: Limits) -> Group | None:
        """None where it cannot be, which is said and stops nobody."""
        if self._root is None:
            return None
        folder = self._root / f"{_PREFIX}{service}-{instance}"
        try:
            folder.mkdir()
            self._ours.add(folder.name)
            for name, value in _files(limits).items():
                _write_if_there(folder / name, value)
            entrance = os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            log.error("predictor_not_limited", service=service, reason=str(error))
            self._ours.discard(folder.name)
            with contextlib.suppress(OSError):
                folder.rmdir()
            return None
        return Group(service, folder, limits, entrance)

    def leave(self, group: Group, tries: int = _TRIES) -> None:
        """The predictor ends at this moment: its group goes as soon as it has. Event loop only."""
        if not group.end() and tries:
            loop = asyncio.get_running_loop()
            loop.call_later(_TRY_SECONDS, self.leave, group, tries - 1)
            return
        self._ours.discard(group.folder.name)
        self.sweep()

    def sweep(self) -> None:
        """Remove what a dead nest left. What is not empty stays: its predictor still drains."""
        if self._root is not None:
            for folder in self._root.glob(f"{_PREFIX}*"):
                # A group of ours may be empty because its predictor is not in it yet.
                if folder.name not in self._ours:
                    with contextlib.suppress(OSError):
                        folder.rmdir()


def open_groups(place: str, *, supervisor: int, mount: Path = _MOUNT) -> Groups:
    """`place` is the setting: `auto`, `off`, or a folder. Says once what will be limited."""
    if place == "off":
        return Groups(None)
    try:
        root = _own(mount, supervisor) if place == "auto" else Path(place)
        enabled = _enable(root)
    except OSError as error:
        log.info("predictors_not_limited", reason=str(error))
        return Groups(None)
    log.info("predictors_limited", folder=str(root), controllers=enabled)
    groups = Groups(root, limit_memory="memory" in enabled)
    groups.sweep()
    return groups


def _own(mount: Path, supervisor: int) -> Path:
    """The group that we are in, cleared of processes. Raises OSError."""
    if not (mount / "cgroup.controllers").exists():
        raise OSError(f"no cgroup v2 at {mount}")
    found = [each for each in _lines(Path("/proc/self/cgroup")) if each.startswith("0::/")]
    if not found or "/.." in found[0]:
        raise OSError("our own cgroup is not to be seen")
    root = mount / found[0].removeprefix("0::/")
    if root.name == PLATFORM and (root.parent / "cgroup.procs").exists():
        root = root.parent  # an earlier nest went there
    if not os.access(root / "cgroup.procs", os.W_OK) or not os.access(root, os.W_OK):
        raise OSError(f"{root} is not ours to write to")
    _move_down(root, supervisor)
    return root


def _move_down(root: Path, supervisor: int) -> None:
    leaf = root / PLATFORM
    for _ in range(_MOVES):  # a process may start another meanwhile
        found = [int(each) for each in _lines(root / "cgroup.procs")]
        if not found:
            return
        strangers = [pid for pid in found if not _descends(pid, supervisor)]
        if strangers:
            raise OSError(f"{root} has processes that are not ours, such as {strangers[0]}")
        leaf.mkdir(exist_ok=True)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                (leaf / "cgroup.procs").write_text(str(pid))
    raise OSError(f"{root} does not get empty")


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            return True  # it has ended
    return pid == ancestor


def _enable(root: Path) -> Sequence[str]:
    """The controllers that groups below `root` can have, switched on. Raises OSError."""
    there = (root / "cgroup.controllers").read_text().split()
    wanted = [each for each in CONTROLLERS if each in there]
    if not wanted:
        raise OSError(f"{root} offers none of {', '.join(CONTROLLERS)}")
    (root / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in wanted))
    return wanted


def _files(limits: Limits) -> dict[str, str]:
    return {
        "memory.max": str(limits.memory + ALLOWANCE),
        "memory.swap.max": "0",  # a model in swap is slower than none
        "memory.oom.group": "1",  # whole or not at all: half a predictor helps nobody
        "cpu.weight": str(max(1, min(10_000, round(limits.cpus * 100)))),
        "pids.max": str(limits.threads),
    }


def _write_if_there(path: Path, value: str) -> None:
    """A kernel without swap, or a controller that is not on, has no such file."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return
        raise
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _number(path: Path, key: str) -> int:
    with contextlib.suppress(OSError):
        for line in _lines(path):
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    return 0


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
