"""kill -9 of any one process: it is back within three seconds, nothing acknowledged is lost,
nothing is billed twice. Two rounds by default, twenty with `make test-deep`.
"""

import itertools
import os
import signal
import threading
import time

import httpx
import psutil
import pytest

_numbers = itertools.count()
TARGETS = ["gateway", "authorizer", "control-plane", "nest", "zygote", "predictor"]


@pytest.fixture(scope="module")
def victim(start_platform):
    return start_platform(requests_per_minute=100_000)


class Caller:
    """Calls without a pause and keeps what was acknowledged: request id -> usage."""

    def __init__(self, platform, user):
        self.platform, self.user = platform, user
        self.acknowledged = {}
        self.names = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._calls),
            threading.Thread(target=self._writes),
        ]

    def _calls(self):
        while not self._stop.is_set():
            try:
                answer = self.platform.chat(self.user.key, max_tokens=4)
                if answer.status_code == 200:
                    self.acknowledged[answer.headers["x-request-id"]] = answer.json()["usage"]
            except (httpx.HTTPError, ValueError):
                time.sleep(0.02)

    def _writes(self):
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                answer = self.platform.post(
                    "/api/v1/keys", self.user.access_token, json={"name": f"k{number}"}
                )
                if answer.status_code == 201:
                    self.names.append(answer.json()["id"])
            except (httpx.HTTPError, ValueError):
                time.sleep(0.02)
            time.sleep(0.02)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def _pid(platform, user, target):
    found = [pid for name, pid in platform.pids(user.key).items() if name.startswith(target)]
    return found[0] if found else None


def _kill_predictors(platform, user):
    for name, pid in platform.pids(user.key).items():
        if name.startswith("predictor"):
            os.kill(pid, signal.SIGKILL)


def _works(platform, user):
    """Asks the authorizer each time: no call like it was ever decided."""
    body = {"model": "dormouse-chat", "prompt": "x", "max_tokens": 1}
    path = f"/v1/completions?{next(_numbers)}"
    return platform.post(path, user.key, json=body).status_code == 200


def _all_usage(platform, user):
    found, after = [], ""
    while True:
        page = platform.get(f"/api/v1/usage?limit=200{after}", user.access_token).json()
        found += page["items"]
        if not page["next"]:
            return found
        after = f"&after={page['next']}"


def _kill_rounds(platform, target, rounds):
    user = platform.sign_up("chat")
    assert _works(platform, user)
    with Caller(platform, user) as caller:
        for _ in range(rounds):
            platform.until(lambda: _pid(platform, user, target))
            pid = _pid(platform, user, target)
            os.kill(pid, signal.SIGKILL)
            platform.until(lambda pid=pid: not psutil.pid_exists(pid))
            if target == "zygote":
                _kill_predictors(platform, user)  # so that the next call needs a zygote
            platform.until(lambda: _works(platform, user), 10)
            time.sleep(0.1)
    return user, caller


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_process_is_back_and_nothing_acknowledged_is_lost(victim, target, rounds):
    user, caller = _kill_rounds(victim, target, rounds)
    assert caller.acknowledged
    # Calls go on without the control plane; what it has written can be read when it is back.
    victim.until(lambda: victim.get("/api/v1/me", user.access_token).status_code == 200, 15)
    keys = {item["id"] for item in _all_keys(victim, user)}
    assert set(caller.names) <= keys
    rows = []

    def all_settled():
        rows[:] = _all_usage(victim, user)
        return caller.acknowledged.keys() <= {row["request_id"] for row in rows}

    victim.until(all_settled, 15)
    ids = [row["request_id"] for row in rows]
    assert len(ids) == len(set(ids))
    for row in rows:
        usage = caller.acknowledged.get(row["request_id"])
        if usage:
            assert row["completion_tokens"] == usage["completion_tokens"]


def _all_keys(platform, user):
    found, after = [], ""
    while True:
        page = platform.get(f"/api/v1/keys?limit=200{after}", user.access_token).json()
        found += page["items"]
        if not page["next"]:
            return found
        after = f"&after={page['next']}"


def test_a_killed_supervisor_leaves_nothing_behind_and_can_be_started_again(start_platform):
    platform = start_platform()
    user = platform.sign_up("chat")
    assert _works(platform, user)
    pids = list(platform.pids(user.key).values())
    assert len(pids) >= 6
    platform.process.kill()
    platform.process.wait()
    platform.until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 20)
    platform.restart()
    assert _works(platform, user)


def test_a_second_platform_in_the_same_home_is_refused(platform):
    import subprocess
    import sys

    second = subprocess.run(
        [sys.executable, "-m", "dormouse_control", "up"],
        env=platform._environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode == 1
    assert "already runs" in second.stderr


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_t24_a_revocation_that_was_acknowledged_outlives_the_control_plane(victim, rounds):
    """The authorizer has heard before anybody is told, so killing who told it changes nothing."""
    user = victim.sign_up("chat")
    victim.chat(user.key, max_tokens=1)
    for _ in range(rounds):
        made = victim.post("/api/v1/keys", user.access_token, json={"name": "x"}).json()
        assert victim.chat(made["key"], max_tokens=1).status_code == 200
        pid = _pid(victim, user, "control-plane")
        path = f"/api/v1/keys/{made['id']}"
        assert victim.call("DELETE", path, user.access_token).status_code == 204
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert victim.chat(made["key"], max_tokens=1).status_code in (401, 503)
        victim.until(lambda pid=pid: _pid(victim, user, "control-plane") not in (None, pid))


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_t24_without_an_authorizer_nobody_goes_on_for_long(victim, rounds):
    """The gateway's own decisions end with whoever would take them back."""
    user = victim.sign_up("chat")
    for _ in range(rounds):
        made = victim.post("/api/v1/keys", user.access_token, json={"name": "x"}).json()
        for _ in range(5):
            assert victim.chat(made["key"], max_tokens=1).status_code == 200
        os.kill(_pid(victim, user, "authorizer"), signal.SIGKILL)
        path = f"/api/v1/keys/{made['id']}"
        assert victim.call("DELETE", path, user.access_token).status_code == 204
        told = time.monotonic()
        while (now := time.monotonic()) < told + 3:
            if victim.chat(made["key"], max_tokens=1).status_code == 200:
                assert now < told + 1
        victim.until(lambda: _works(victim, user))
