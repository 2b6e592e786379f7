"""What confinement costs a wake: microseconds that a forked child spends on it, median of many.

    python benchmarks/confinement.py [forks]

As root all of it, else what other users can do. The parent has imported what a zygote has not, so
the fork itself is not what is measured. Also: what the nest spends on preparing a fork.
"""

import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dormouse_control.nest.cgroups import Groups, Limits
from dormouse_control.nest.confinement import Confinement, Confining, Needs
from dormouse_predictors import confinement

GROUP = 60600
_NANOSECONDS = struct.Struct("q")


def main() -> None:
    forks = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    user = GROUP + 1 if os.geteuid() == 0 else None
    group = None if user is None else GROUP
    null = os.open(os.devnull, os.O_RDWR)
    rows: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "descriptors": lambda: confinement.close_all_but([null]),
        "limits, privileges, user": lambda: confinement.confine(user, group),
        "entrance and empty pipe": lambda: (os.write(null, b"0"), _pipe()),
    }
    for name, work in rows.items():
        print(f"{name:28} {in_children(work, forks):8.1f} µs")
    print(f"{'the nest, before the fork':28} {preparing(forks):8.1f} µs")


def _pipe() -> None:
    reads, writes = os.pipe()
    os.write(writes, b"{}")
    os.close(writes)
    with open(reads, "rb") as told:
        told.read()


def in_children(work: Callable[[], object], forks: int) -> float:
    found = []
    for _ in range(forks):
        reads, writes = os.pipe()
        os.dup2(writes, 2)  # what stays open, whatever `work` closes
        if os.fork() == 0:
            start = time.perf_counter_ns()
            work()
            os.write(2, _NANOSECONDS.pack(time.perf_counter_ns() - start))
            os._exit(0)
        os.close(writes)
        found.append(_NANOSECONDS.unpack(os.read(reads, _NANOSECONDS.size))[0])
        os.close(reads)
        os.wait()
    return statistics.median(found) / 1000


def preparing(forks: int) -> float:
    needs = {"chat": Needs(Limits(1 << 30, 1.0, 300), ("hf",))}
    own = os.geteuid() == 0
    confining = Confining(Confinement(GROUP, needs=needs), Groups(None), os.environ)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        config = {"service": "chat", "instance": "1", "spool": str(Path(folder) / "chat")}
        for _ in range(forks):
            start = time.perf_counter_ns()
            with confining.prepare(config, own_user=own):
                pass
            found.append(time.perf_counter_ns() - start)
    return statistics.median(found) / 1000


if __name__ == "__main__":
    main()
