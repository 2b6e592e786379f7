"""A mixed run under kills, whose ledger must balance to the unit: R18, R20, R25, T44, T104.

Callers with budgets and limits ask, stream, hang up and make mistakes, while processes are killed.
`DORMOUSE_MIXED_RUN_MINUTES` says for how long; less than one by default.
"""

import itertools
import json
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field

import httpx
import pytest

MINUTES = float(os.environ.get("DORMOUSE_MIXED_RUN_MINUTES", "0.6"))
KILL_EVERY_SECONDS = 6.0
# The dearest call to dormouse-chat: its whole context, eight times answered.
MOST = 0.0099
BUDGET = 0.002
_words = itertools.count(1)


@dataclass
class Seen:
    """What callers were told: request id -> usage of whole answers, and all that went wrong."""

    whole: dict[str, dict] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)

    def code(self, answer):
        found = answer.json()["error"]["code"]
        self.codes[found] = self.codes.get(found, 0) + 1


class Caller(threading.Thread):
    """One user's client; what it says is a number of its own that nobody else ever uses."""

    def __init__(self, platform, key, seen, stop):
        super().__init__()
        self.platform, self.key, self.seen, self.stop = platform, key, seen, stop
        self.rng = random.Random(next(_words))  # noqa: S311  no secret

    def run(self):
        with httpx.Client(base_url=self.platform.url, timeout=30) as client:
            client.headers["authorization"] = f"Bearer {self.key}"
            while not self.stop.is_set():
                step = self.rng.choice([self.ask, self.ask, self.stream, self.hang_up, self.err])
                try:
                    step(client)
                except httpx.HTTPError:
                    time.sleep(0.05)

    def body(self, **more):
        text = f"Repeat the number {next(_words)}."
        messages = [{"role": "user", "content": text}]
        return {"model": "dormouse-chat", "messages": messages, "max_tokens": 12, **more}

    def post(self, client, **more):
        answer = client.post("/v1/chat/completions", json=self.body(**more))
        if answer.status_code == 429 and not answer.headers.get("retry-after"):
            self.seen.surprises.append(answer.text)
        return answer

    def ask(self, client):
        answer = self.post(client)
        if answer.status_code == 200:
            self.seen.whole[answer.headers["x-request-id"]] = answer.json()["usage"]
        else:
            self.seen.code(answer)
            time.sleep(0.02)

    def stream(self, client):
        body = self.body(stream=True, stream_options={"include_usage": True})
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                answer.read()
                self.seen.code(answer)
                return
            events = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
        if events and events[-1] == "[DONE]":
            usage = json.loads(events[-2])["usage"]
            self.seen.whole[answer.headers["x-request-id"]] = usage
        elif not events or "error" not in json.loads(events[-1]):
            self.seen.silent.append(answer.headers["x-request-id"])

    def hang_up(self, client):
        body = self.body(stream=True, max_tokens=64)
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            for _ in zip(answer.iter_lines(), range(self.rng.randrange(6)), strict=False):
                pass

    def err(self, client):
        wrong = self.rng.choice([{"max_tokens": -1}, {"what": 1}, {"model": "nothing"}])
        answer = self.post(client, **wrong)
        assert answer.status_code != 200
        self.seen.code(answer)


@pytest.fixture(scope="module")
def busy(start_platform):
    return start_platform(requests_per_minute=100_000)


def kill(platform, token, target):
    for name, pid in platform.pids(token).items():
        if name.startswith(target):
            os.kill(pid, signal.SIGKILL)
            return


def everything(platform, token, path):
    found, after = [], ""
    while True:
        page = platform.get(f"{path}?limit=200{after}", token).json()
        found += page["items"]
        if not page["next"]:
            return found
        after = f"&after={page['next']}"


@pytest.mark.timeout(MINUTES * 60 + 240)
def test_after_a_mixed_run_under_kills_the_ledger_balances(busy):
    busy.first_administrator()
    users = [busy.sign_up("chat", "embeddings") for _ in range(3)]
    limited = busy.post(
        "/api/v1/keys",
        users[0].access_token,
        json={
            "name": "poor",
            "budget": {"amount": BUDGET, "period": "total"},
            "tags": {"team": "mixed"},
        },
    ).json()
    seen, stop = Seen(), threading.Event()
    keys = [users[0].key, limited["key"], limited["key"], users[1].key, users[2].key]
    callers = [Caller(busy, key, seen, stop) for key in keys]
    for caller in callers:
        caller.start()
    victims = itertools.cycle(["predictor", "authorizer", "control-plane", "predictor", "nest"])
    until = time.monotonic() + MINUTES * 60
    while time.monotonic() < until:
        time.sleep(KILL_EVERY_SECONDS)
        kill(busy, users[1].key, next(victims))
        busy.until(lambda: busy.get("/readyz").status_code == 200, 30)
    stop.set()
    for caller in callers:
        caller.join()

    rows = {}

    def all_booked():
        for user in users:
            for row in everything(busy, user.key, "/api/v1/usage"):
                rows[row["request_id"]] = row
        return set(seen.whole) <= set(rows)

    busy.until(all_booked, 60)
    assert len(seen.whole) > 20
    for request_id, usage in seen.whole.items():
        row = rows[request_id]
        told = (usage["prompt_tokens"], usage["completion_tokens"])
        assert (row["prompt_tokens"], row["completion_tokens"]) == told
    assert seen.silent == []
    assert seen.surprises == []
    poor = sum(row["cost"] for row in rows.values() if row["key_id"] == limited["id"])
    assert poor < BUDGET + MOST
    administrator = busy.sign_in("administrator@example.org")
    verified = {}

    def all_verified():
        """Calls that were hung up on may be booked after those that were not."""
        verified.update(busy.get("/api/v1/ledger/verification", administrator, timeout=120).json())
        return all_booked() and verified["calls"] == len(rows)

    busy.until(all_verified, 60)
    assert verified["problems"] == []
