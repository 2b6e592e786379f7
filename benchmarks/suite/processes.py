"""Processes of a benchmark: started, ended, and what they cost by /proc."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

HERE = Path(__file__).parents[1]

_SCHEDULED = 2
"""The kind of clock that Linux calls CPUCLOCK_SCHED: nanoseconds of all threads, ended ones too."""


class NotReady(Exception):
    """A subject did not start; the end of its log says why."""


@contextlib.contextmanager
def started(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[psutil.Process]:
    """The process while the block runs; then SIGTERM to it and SIGKILL to what is left below."""
    with log.open("ab") as output:
        process = _start(command, output, environment or {}, folder)
    try:
        yield psutil.Process(process.pid)
    finally:
        below = tree(process.pid)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for each in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def _start(
    command: Sequence[str], output: IO[bytes], environment: Mapping[str, str], folder: Path | None
) -> "subprocess.Popen[bytes]":
    paths = f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    return subprocess.Popen(
        list(command),
        env={**os.environ, "PYTHONPATH": paths, **environment},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )


def tree(pid: int) -> list[psutil.Process]:
    """The process and all below it that still run."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pids: Sequence[int]) -> float:
    """What these processes and all below them have computed so far."""
    return sum(_cpu(process.pid) for pid in pids for process in tree(pid))


def _cpu(pid: int) -> float:
    """By the process's own clock: /proc counts in hundredths of a second only."""
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | _SCHEDULED)
    return 0.0  # it has just ended


def pss_mib(pids: Sequence[int]) -> float:
    """Proportional set size: what two processes share counts half for each."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 2**20


def memory_mib(pids: Sequence[int]) -> float:
    """As if nobody else ran: what they share among themselves counts once, and a file that other
    processes have mapped too counts in full."""
    private, files = 0, dict[tuple[str, str, str], int]()
    for pid in pids:
        file = ("", "", "")
        resident = 0
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            name, *rest = line.split()
            if not name.endswith(":"):
                file = (rest[2], rest[3], rest[1])  # device, inode, offset
            elif name == "Rss:":
                resident = int(rest[0])
            elif name == "Anonymous:":
                private += int(rest[0])
                if file[1] != "0":
                    files[file] = max(files.get(file, 0), resident - int(rest[0]))
    return (private + sum(files.values())) / 1024


def until(condition: Callable[[], bool], what: str, *, log: Path, seconds: float = 60) -> None:
    """Raises `NotReady`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-1500:] if log.exists() else ""
            raise NotReady(f"{what} was not ready within {seconds:.0f} s\n{said}")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
