"""Waking: from asleep to the first byte, alone and many at once; what a process costs to start.

python benchmarks/waking.py            # about ten minutes; writes benchmarks/results/waking.json
python benchmarks/waking.py --smoke    # a check that it works: short, without peers, keeps nothing

Installs KServe, MLServer, BentoML and Ray Serve into a cache folder the first time, and makes
models of 650 MB there.
"""

import argparse
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from suite import cold_disk, crowd, frameworks, installs, models, offers, starts, tenants, wakes
from suite.goals import WAKING
from suite.offers import Offer
from suite.results import Results
from suite.whole import Whole, whole


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rounds: int
    crowds: int
    copies: int
    starts: int
    llama: models.Shape
    peers: bool


FULL = Size(rounds=9, crowds=5, copies=4, starts=5, llama=models.LARGE, peers=True)
SMOKE = Size(rounds=1, crowds=1, copies=1, starts=1, llama=models.TINY, peers=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="short, without peers, keeps nothing")
    smoke = parser.parse_args().smoke
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and all that was started ends
    results = Results(WAKING)
    with tempfile.TemporaryDirectory(prefix="dm") as folder:
        _run(Path(folder), SMOKE if smoke else FULL, results)
    print(results.table())
    if not smoke:
        print(f"kept in {results.keep('waking')}")
    return 1 if results.broken else 0


def _run(folder: Path, size: Size, results: Results) -> None:
    results.describe("llama-cpp-python", "torch", "transformers", "uvicorn", "uvloop")
    minilm, llama = offers.minilm("minilm"), offers.llama("llama", size.llama)
    tiny = offers.llama("tiny", models.TINY, cpus=1)
    numbers = range(size.copies)
    crowded = [offers.copied(each, number) for each in (minilm, llama) for number in numbers]
    with results.trying("C1-L6"), whole(folder, [minilm, llama, tiny, *crowded]) as platform:
        with results.trying("C1, C2, C4"):
            wakes.against_bare(results, platform, minilm, llama, rounds=size.rounds)
        with results.trying("C3"):
            cold_disk.against_reading(results, platform, llama, rounds=size.crowds)
        with results.trying("C5"):
            crowd.at_once(results, platform, crowded, rounds=size.crowds)
        with results.trying("C6"):
            _starts(folder, size, results, platform, tiny)
        with results.trying("C7"):
            starts.own_memory(results, folder, platform, minilm, rounds=size.starts)
        with results.trying("L6"):
            tenants.memory(results, platform, llama)


def _starts(folder: Path, size: Size, results: Results, platform: Whole, tiny: Offer) -> None:
    peers = frameworks.available(results, folder) if size.peers else []
    for name in ("KSERVE", "MLSERVER", "BENTOML", "RAY"):
        results.note(name, getattr(installs, name))
    starts.first_replies(results, folder, platform, tiny, peers, rounds=size.starts)


if __name__ == "__main__":
    sys.exit(main())
