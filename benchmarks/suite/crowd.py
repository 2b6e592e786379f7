"""C5: many different models asleep, all called at the same moment."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

from suite import models
from suite.offers import Offer
from suite.processes import cpu_seconds, tree
from suite.results import Results
from suite.rounds import spread
from suite.whole import Whole


def at_once(results: Results, platform: Whole, offers: list[Offer], *, rounds: int) -> None:
    """Against the seconds that all cores together need at least: what the predictors compute from
    their fork to their answer, each woken alone, divided by the cores. Raises `RuntimeError` if one
    call of them all fails."""
    for offer in offers:
        models.warm(offer.path)
        platform.ask(offer)
    ratios, walls, leasts = [], [], []
    for _ in range(rounds):
        platform.sleep(*(offer.name for offer in offers))
        least = sum(_alone(platform, offer) for offer in offers) / (os.cpu_count() or 1)
        wall = _together(platform, offers)
        ratios.append(wall / least)
        walls.append(wall)
        leasts.append(least)
    results.put("C5", spread(ratios))
    results.note(f"C5: {len(offers)} at once, s", str(spread(walls)))
    results.note("C5: what the CPU needs, s", str(spread(leasts)))


def _alone(platform: Whole, offer: Offer) -> float:
    """While those that were woken before have nothing to do. What a predictor did before somebody
    called, when it was a spare, does not count."""
    before = {each.pid: cpu_seconds([each.pid]) for each in tree(platform.pid)}
    platform.ask(offer)
    pids = [int(each["pid"]) for each in platform.predictors(offer.name)]
    return sum(cpu_seconds([pid]) - before.get(pid, 0.0) for pid in pids)


def _together(platform: Whole, offers: list[Offer]) -> float:
    platform.sleep(*(offer.name for offer in offers))
    time.sleep(0.5)
    with ThreadPoolExecutor(len(offers)) as threads:
        list(threads.map(lambda _: time.sleep(0.05), offers))  # they are all there
        began = time.perf_counter()
        for reply in threads.map(platform.ask, offers):
            assert reply.document
        return time.perf_counter() - began
