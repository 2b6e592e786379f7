"""Tokens: how many a second with several clients, and how soon the first (S1, S6)."""

import contextlib
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from suite import models
from suite.offers import Offer
from suite.results import Results
from suite.rounds import spread
from suite.subjects import Subject
from suite.whole import Whole, call

CLIENTS = 8
TOKENS = 64
PREFIX = 2000
_TAIL = 10
_SERIAL = count(1)


def a_second(
    results: Results, ours: Subject, peer: Subject | None, *, rounds: int, calls: int
) -> None:
    """S1: of whole answers to chats, each with another prompt."""
    found: dict[str, list[float]] = {}
    subjects = [ours] if peer is None else [ours, peer]
    for subject in subjects:
        _rate(subject, 1)
    for _ in range(rounds):
        for subject in subjects:
            found.setdefault(subject.name, []).append(_rate(subject, calls))
    for name, values in found.items():
        results.note(f"S1: {name}, tokens a second", str(spread(values)))
        print(f"    S1: {name}, tokens a second: {spread(values)}", flush=True)
    if peer is not None:
        pairs = zip(found[ours.name], found[peer.name], strict=True)
        results.put("S1", spread([one / other for one, other in pairs]))


def _rate(subject: Subject, calls: int) -> float:
    """Of so many calls of each client, one after the other. Raises `RuntimeError` if an answer has
    not all its tokens."""

    def client(_: int) -> None:
        for _ in range(calls):
            body = {
                "model": subject.model,
                "messages": [{"role": "user", "content": models.words(next(_SERIAL), 20)}],
                "max_tokens": TOKENS,
                "logit_bias": models.NEVER_END,
            }
            reply = call(subject.port, "/v1/chat/completions", body, subject.all_headers())
            # llama-cpp-python counts the tokens of the text, which are seldom those that were made.
            ended = reply.document["choices"][0]["finish_reason"]
            if ended != "length":
                raise RuntimeError(f"{subject.name}: ended by {ended}, before {TOKENS} tokens")

    with ThreadPoolExecutor(CLIENTS) as threads:
        began = time.perf_counter()
        list(threads.map(client, range(CLIENTS)))
        return CLIENTS * calls * TOKENS / (time.perf_counter() - began)


def known_prefix(results: Results, platform: Whole, offer: Offer, *, rounds: int) -> None:
    """S6: the same user's second prompt with the same long beginning, against the first."""
    platform.ask(offer)
    ratios, unknown, known = [], [], []
    for number in range(rounds):
        prefix = models.tokens(1000 + number, PREFIX)
        first, second = (models.tokens(each, _TAIL) for each in (2 * number, 2 * number + 1))
        unknown.append(_first_token(platform, offer, prefix + first))
        known.append(_first_token(platform, offer, prefix + second))
        ratios.append(known[-1] / unknown[-1])
    results.put("S6", spread(ratios))
    for name, values in (("known", known), ("unknown", unknown)):
        text = str(spread([1000 * each for each in values]))
        results.note(f"S6: first token after {PREFIX} tokens, {name}, ms", text)
        print(f"    S6: {name}, ms: {text}", flush=True)


def _first_token(platform: Whole, offer: Offer, prompt: list[int]) -> float:
    """Seconds. Raises `RuntimeError` if the answer is not what was asked for."""
    body = {
        "model": offer.name,
        "prompt": prompt,
        "max_tokens": 4,
        "logit_bias": models.NEVER_END,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=120)
    with contextlib.closing(connection):
        began = time.perf_counter()
        connection.request("POST", "/v1/completions", json.dumps(body), platform.headers)
        answer = connection.getresponse()
        first, usage = 0.0, None
        for line in answer:
            if line.startswith(b"data: {"):
                first = first or time.perf_counter() - began
                usage = json.loads(line[6:]).get("usage") or usage
    if usage is None or (usage["prompt_tokens"], usage["completion_tokens"]) != (len(prompt), 4):
        raise RuntimeError(f"{offer.name}: {answer.status}, {usage}")
    return first
