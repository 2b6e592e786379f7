"""What a service takes for many users (L6). There are no adapters yet: all call its model."""

from suite import models
from suite.offers import Offer
from suite.processes import pss_mib
from suite.results import Results
from suite.rounds import spread
from suite.whole import Whole, call, headers

TENANTS = 100
_WORDS = 200


def memory(results: Results, platform: Whole, llama: Offer) -> None:
    """L6: the predictor's memory when each of 100 users has been answered, with a long prompt of
    its own, as the share of what 100 predictors would take that answer one each."""
    users = [f"tenant-{number}@example.org" for number in range(TENANTS)]
    keys = [platform.sign_up(user, [llama.name]) for user in users]
    platform.sleep(llama.name)
    _ask(platform, llama, keys[:1])
    alone = _taken(platform, llama)
    _ask(platform, llama, keys[1:])
    taken = _taken(platform, llama)
    results.put("L6", spread([taken / (TENANTS * alone)]))
    results.note("L6: MiB", f"{taken:.0f}, of one user {alone:.0f}")


def _ask(platform: Whole, llama: Offer, keys: list[str]) -> None:
    for number, key in enumerate(keys):
        wants = {"max_tokens": 4, "logit_bias": models.NEVER_END}
        body = {"model": llama.name, "prompt": models.words(number, _WORDS), **wants}
        call(platform.port, llama.endpoint, body, headers(key))


def _taken(platform: Whole, llama: Offer) -> float:
    [found] = platform.predictors(llama.name)
    return pss_mib([int(found["pid"])])
