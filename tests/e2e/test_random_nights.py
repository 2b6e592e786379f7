"""Random nights: wakes, kills, hangs, hang-ups and sleeps, and in the end nothing is lost or left.

R18, R19, R20, R38: calls of every kind, while predictors and zygotes are killed, stopped and
continued, and services are put to sleep. Runs for half a minute by default, for half an hour with
`make test-deep`; `DORMOUSE_NIGHT_MINUTES` and `DORMOUSE_NIGHT_SEED` choose another night.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from fixtures import leftovers
from fixtures.night_callers import OPEN, Caller, Seen

MINUTES = float(os.environ.get("DORMOUSE_NIGHT_MINUTES", "0.5"))
LONG_MINUTES = 30.0
SEED = int(os.environ.get("DORMOUSE_NIGHT_SEED") or random.SystemRandom().randrange(2**32))
IDLE_SECONDS = 1.5
CALLERS = 9
AT_ONCE = 6
MIB = 1024 * 1024


class Night:
    """A platform, those who call it, and the troubles that it has."""

    def __init__(self, platform, mark, seed):
        self.platform, self.mark = platform, mark
        self.operator = platform.first_administrator()
        self.dice = random.Random(seed)  # noqa: S311  the same again, no secret
        self.users = [platform.sign_up("chat", "embeddings") for _ in range(3)]
        self.narrow = platform.post(
            "/api/v1/keys",
            self.users[2].access_token,
            json={
                "name": "narrow",
                "concurrent_calls": AT_ONCE,
                "budget": {"amount": 1000, "period": "total"},
            },
        ).json()["key"]
        keys = [self.users[0].key, self.users[1].key, self.narrow]
        self.seen, self.working = Seen(), threading.Event()
        self.callers = [
            Caller(platform.url, keys[number % 3], seed + number, self.seen, self.working)
            for number in range(CALLERS)
        ]
        for caller in self.callers:
            caller.start()
        self.troubles = Counter()

    def half(self, seconds):
        """Trouble for so long, and then quiet until everything sleeps."""
        self.working.set()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            trouble = self.dice.choice(
                [self.kill, self.kill, self.stop_for_a_while, self.sleep, self.wake, self.zygote,
                 self.stop_zygote, self.let_sleep, self.nothing, self.nothing]
            )  # fmt: skip
            trouble()
            self.troubles[trouble.__name__] += 1
            time.sleep(self.dice.uniform(0.05, 1))
        self.pause()

    def predictors(self):
        services = self.platform.get("/api/v1/status", self.users[0].key).json()["services"]
        return [
            each["pid"] for service in services for each in service["predictors"] if each["pid"]
        ]

    def zygotes(self):
        pids = self.platform.pids(self.users[0].key)
        return [pid for name, pid in pids.items() if name.startswith("zygote")]

    def signal(self, pids, *numbers, seconds=0.0):
        """To one of these, if there is any."""
        if not pids:
            return
        pid = self.dice.choice(pids)
        for number in numbers:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            time.sleep(seconds)

    def kill(self):
        self.signal(self.predictors(), signal.SIGKILL)

    def stop_for_a_while(self):
        seconds = self.dice.uniform(0.1, 1.5)
        self.signal(self.predictors(), signal.SIGSTOP, signal.SIGCONT, seconds=seconds)

    def hang(self):
        """Until the nest finds out."""
        self.working.set()
        self.platform.until(self.predictors, 60)
        self.signal(self.predictors(), signal.SIGSTOP)

    def zygote(self):
        self.signal(self.zygotes(), signal.SIGKILL)

    def stop_zygote(self):
        seconds = self.dice.uniform(0.1, 1)
        self.signal(self.zygotes(), signal.SIGSTOP, signal.SIGCONT, seconds=seconds)

    def sleep(self):
        self._by_hand("sleep")

    def wake(self):
        self._by_hand("wake")

    def _by_hand(self, what):
        service = self.dice.choice(["chat", "embeddings"])
        answer = self.platform.post(f"/api/v1/services/{service}/{what}", self.operator)
        assert answer.status_code == 202, answer.text

    def let_sleep(self):
        """Nobody calls until everything sleeps, or nearly."""
        self.working.clear()
        time.sleep(IDLE_SECONDS + self.dice.uniform(0, 1))
        self.working.set()

    def nothing(self):
        pass

    def pause(self):
        """Returns once every call is over and everything sleeps; a lost call never is."""
        self.working.clear()
        for caller in self.callers:
            assert caller.idle.wait(150), f"a call was forgotten: DORMOUSE_NIGHT_SEED={SEED}"
        deadline = time.monotonic() + 150
        while left := self.open_requests():
            assert time.monotonic() < deadline, f"never ended: {left[0]}, seed {SEED}"
            time.sleep(0.5)
        self.platform.until(lambda: not self.predictors(), 60)

    def open_requests(self):
        items = []
        for user in self.users:
            for status in OPEN:
                path = f"/api/v1/requests?limit=200&status={status}"
                items += self.platform.get(path, user.key).raise_for_status().json()["items"]
        return [each for each in items if each["status"] in OPEN]

    def end(self):
        for caller in self.callers:
            caller.stop = True
        self.working.set()
        for caller in self.callers:
            caller.join(150)

    def held(self):
        pids = self.platform.pids(self.users[0].key)
        return {name: leftovers.held(pids[name]) for name in leftovers.LASTING}

    def rows(self):
        found = []
        for user in self.users:
            after = ""
            while after is not None:
                page = self.platform.get(f"/api/v1/usage?limit=200{after}", user.key).json()
                found += page["items"]
                after = f"&after={page['next']}" if page["next"] else None
        return found


@pytest.mark.timeout(MINUTES * 120 + 600)
def test_r38_after_a_random_night_nothing_is_lost_and_nothing_is_left(start_platform):
    _night(start_platform, MINUTES)


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
def test_r38_a_long_night(start_platform):
    _night(start_platform, LONG_MINUTES)


def _night(start_platform, minutes):
    with leftovers.marked() as mark:
        platform = start_platform(
            requests_per_minute=1_000_000, idle_seconds=IDLE_SECONDS, async_requests=1000
        )
    night = Night(platform, mark, SEED)
    quiet = known(night)
    night.hang()
    night.half(minutes * 30)
    before, sockets = night.held(), leftovers.sockets_and_pipes(platform.home)
    night.half(minutes * 30)
    night.end()

    what = f"DORMOUSE_NIGHT_SEED={SEED}, {dict(night.troubles)}, {dict(night.seen.told)}"
    assert night.seen.wrong == [], what
    assert night.seen.told["whole"] + night.seen.told["whole stream"] > 20 * minutes, what
    check_that_nothing_is_left(night, quiet, sockets)
    check_that_nothing_grew(before, night.held())
    check_the_books(night)
    check_that_places_are_free(night)


def known(night):
    """Processes of a platform whose zygotes are there, each with a child that was forked ahead,
    and whose services sleep."""

    def zygotes():
        return [each for each in leftovers.processes(night.mark).values() if ".zygote" in each]

    night.platform.until(lambda: len(zygotes()) == 4, 60)
    return sorted(leftovers.processes(night.mark).values())


def check_that_nothing_is_left(night, quiet, sockets):
    home, root = night.platform.home, night.platform.process.pid
    night.platform.until(lambda: len(night.zygotes()) == 2, 60)
    night.platform.until(lambda: sorted(leftovers.processes(night.mark).values()) == quiet, 30)
    family = {each.pid for each in psutil.Process(root).children(recursive=True)} | {root}
    assert set(leftovers.processes(night.mark)) <= family  # nobody lost their parents
    assert leftovers.zombies(root) == []
    assert leftovers.sockets_and_pipes(home) == sockets
    night.platform.until(lambda: not leftovers.unsettled(home), 30)


def check_that_nothing_grew(before, after):
    """From its middle on, a night takes nothing more: what is learned and cached is by then. Of
    descriptors and threads there are some more or less, for as many as were connected last."""
    for name, then in before.items():
        now = after[name]
        assert now.pid == then.pid, f"{name} has died by itself"
        assert now.descriptors <= then.descriptors + 24, (name, then, now)
        assert now.threads <= then.threads + 8, (name, then, now)
        assert now.memory <= then.memory * 1.05 + 8 * MIB, (name, then, now)


def check_the_books(night):
    """Each call is booked once, with what its caller was told."""
    seen, rows = night.seen, {}

    def booked():
        rows.clear()
        rows.update({row["request_id"]: row for row in night.rows()})
        return set(seen.whole) <= set(rows)

    night.platform.until(booked, 60)
    names = [row["request_id"] for row in night.rows()]
    assert len(names) == len(set(names))
    for request_id, usage in seen.whole.items():
        row = rows[request_id]
        told = (usage["prompt_tokens"], usage.get("completion_tokens", 0))
        assert (row["prompt_tokens"], row["completion_tokens"]) == told
    left = check_what_was_left(night, rows)
    assert len(set(names) - seen.begun - left) <= seen.nameless
    administrator = night.platform.sign_in("administrator@example.org")
    verified = night.platform.get("/api/v1/ledger/verification", administrator, timeout=120).json()
    assert verified["problems"] == []
    assert verified["calls"] == len(names)


def check_what_was_left(night, rows):
    """Every asynchronous request has ended, and well. Returns their request ids."""
    found = {}
    for user in night.users:
        for location in night.seen.requests:
            answer = night.platform.get(location, user.key)
            if answer.status_code == 200:
                found[location] = answer.json()
    assert set(found) == set(night.seen.requests)
    for each in found.values():
        assert each["status"] == "completed", each
        told = each["result"]["usage"]["completion_tokens"]
        assert rows[each["request_id"]]["completion_tokens"] == told
    return {each["request_id"] for each in found.values()}


def check_that_places_are_free(night):
    """Nothing of a key's calls at once is still taken by one that is over."""

    def ask(_):
        return night.platform.chat(night.narrow, max_tokens=30).status_code

    def all_are_served():
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return set(pool.map(ask, range(AT_ONCE))) == {200}

    night.platform.until(all_are_served, 60)
