"""How soon a new process replies, and what memory it takes of its own (C6, C7)."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from suite.frameworks import Framework, serving
from suite.offers import Offer
from suite.processes import NotReady, tree
from suite.results import Results
from suite.rounds import spread
from suite.standing import Predictors
from suite.wakes import wake
from suite.whole import Whole


def first_replies(
    results: Results,
    folder: Path,
    platform: Whole,
    tiny: Offer,
    peers: Sequence[Framework],
    *,
    rounds: int,
) -> None:
    """C6: ours has a model, a tiny one, and the fork's call comes through the gateway; the peers'
    give back what they are given."""
    predictors = Predictors(folder)
    platform.ask(tiny)
    seconds: dict[str, list[float]] = {}
    forked, standing = list[float](), list[float]()
    with predictors.control_plane():
        for _ in range(rounds):
            found = {"ours, forked": wake(platform, tiny).first_byte}
            with predictors.start(tiny) as started:
                found["ours, without nest"] = started.seconds
            theirs = {}
            for peer in peers:
                with contextlib.suppress(NotReady), serving(peer, folder) as there:
                    theirs[peer.name] = there.seconds
            if theirs:
                forked.append(found["ours, forked"] / min(theirs.values()))
                standing.append(found["ours, without nest"] / min(theirs.values()))
            for name, value in {**found, **theirs}.items():
                seconds.setdefault(name, []).append(value)
    if forked:
        results.put("C6a", spread(forked))
        results.put("C6b", spread(standing))
    for name, values in seconds.items():
        results.note(f"C6: {name}, s", str(spread(values)))
        print(f"    C6: {name}, s: {spread(values)}", flush=True)


def own_memory(
    results: Results, folder: Path, platform: Whole, offer: Offer, *, rounds: int
) -> None:
    """C7: pages that a predictor has written, so that it shares them with nobody; after a call."""
    predictors = Predictors(folder)
    ratios, forked, cold = [], [], []
    with predictors.control_plane():
        for _ in range(rounds):
            platform.sleep(offer.name)
            platform.ask(offer)
            [found] = platform.predictors(offer.name)
            forked.append(_private_mib(int(found["pid"])))
            with predictors.start(offer) as started:
                cold.append(sum(_private_mib(each.pid) for each in tree(started.pid)))
            ratios.append(forked[-1] / cold[-1])
    results.put("C7", spread(ratios))
    results.note("C7: forked, MiB", str(spread(forked)))
    results.note("C7: started cold, MiB", str(spread(cold)))
    print(f"    C7: {spread(forked)} of {spread(cold)} MiB", flush=True)


def _private_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no memory of process {pid}")
