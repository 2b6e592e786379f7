"""Serving: tokens and embeddings a second, calls a second of a predictor that does nothing, prompts
whose beginning is known.

python benchmarks/serving.py            # about ten minutes; writes benchmarks/results/serving.json
python benchmarks/serving.py --smoke    # a check that it works: short, without peers, keeps nothing

Needs `wrk` (Debian's package). Installs llama-cpp-python's server, infinity-emb, KServe, MLServer,
BentoML and Ray Serve into a cache folder the first time.
"""

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from suite import frameworks, installs, model_servers, models, offers, requests_a_second, tokens
from suite.goals import SERVING
from suite.offers import Offer
from suite.processes import NotReady
from suite.results import Results
from suite.subjects import Subject
from suite.whole import Whole, whole


@dataclass(frozen=True)
class Size:
    """How much of everything. `seconds` is one subject's turn in a round."""

    rounds: int
    seconds: float
    llama: models.Shape
    peers: bool


FULL = Size(rounds=7, seconds=4, llama=models.LARGE, peers=True)
SMOKE = Size(rounds=1, seconds=1, llama=models.TINY, peers=False)

Peer = Callable[[Path, Offer], contextlib.AbstractContextManager[Subject]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="short, without peers, keeps nothing")
    smoke = parser.parse_args().smoke
    if shutil.which("wrk") is None:
        print("benchmarks/serving.py needs wrk: apt-get install wrk", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and all that was started ends
    results = Results(SERVING)
    with tempfile.TemporaryDirectory(prefix="dm") as folder:
        Bench(Path(folder), SMOKE if smoke else FULL, results).run()
    print(results.table())
    if not smoke:
        print(f"kept in {results.keep('serving')}")
    return 1 if results.broken else 0


class Bench:
    def __init__(self, folder: Path, size: Size, results: Results) -> None:
        self._folder = folder
        self._size = size
        self._results = results

    def run(self) -> None:
        self._describe()
        llama = offers.llama("llama", self._size.llama, context=4096)
        minilm = offers.minilm("minilm")
        with self._results.trying("S1-S6"), whole(self._folder, [llama, minilm]) as platform:
            with self._results.trying("S1"):
                self._chat(platform, llama)
            with self._results.trying("S6"):
                rounds = self._size.rounds
                tokens.known_prefix(self._results, platform, llama, rounds=rounds)
            platform.sleep(llama.name)
            with self._results.trying("S3"):
                self._embeddings(platform, minilm)
        with self._results.trying("S4"):
            self._doing_nothing()

    def _chat(self, platform: Whole, llama: Offer) -> None:
        platform.ask(llama)
        with contextlib.ExitStack() as stack:
            peer = self._peer(stack, "llama-cpp-python", model_servers.llama_cpp_python, llama)
            ours = platform.subject(llama)
            tokens.a_second(self._results, ours, peer, rounds=self._size.rounds, calls=2)

    def _embeddings(self, platform: Whole, minilm: Offer) -> None:
        platform.ask(minilm)
        with contextlib.ExitStack() as stack:
            peer = self._peer(stack, "infinity-emb", model_servers.infinity, minilm)
            requests_a_second.embeddings(
                self._results,
                self._folder,
                platform.subject(minilm),
                peer,
                rounds=self._size.rounds,
                seconds=self._size.seconds,
            )

    def _doing_nothing(self) -> None:
        size = self._size
        peers = frameworks.available(self._results, self._folder) if size.peers else []
        requests_a_second.doing_nothing(
            self._results,
            self._folder,
            offers.minilm("noop"),
            peers,
            rounds=size.rounds,
            seconds=size.seconds,
        )

    def _peer(
        self, stack: contextlib.ExitStack, name: str, start: Peer, offer: Offer
    ) -> Subject | None:
        if not self._size.peers:
            return None
        try:
            return stack.enter_context(start(self._folder, offer))
        except (installs.NotInstalled, NotReady, OSError) as error:
            self._results.missing(name, str(error))
            return None

    def _describe(self) -> None:
        self._results.describe("llama-cpp-python", "torch", "transformers", "uvicorn", "uvloop")
        for name in ("KSERVE", "MLSERVER", "BENTOML", "RAY", "INFINITY", "LLAMA"):
            self._results.note(name, getattr(installs, name))


if __name__ == "__main__":
    sys.exit(main())
