"""R42: a request that ends whichever predictor works on it is given up by name; others go on."""

import contextlib
import os
import signal
import threading
import time

import httpx
import psutil
import pytest

ASYNC = {"prefer": "respond-async"}
LONG = {"prompt": ["Dormouse is"] * 16, "n": 8, "max_tokens": 100}


@pytest.fixture(scope="module")
def platform(start_platform):
    return start_platform(requests_per_minute=100_000)


@pytest.fixture
def user(platform):
    return platform.sign_up("chat")


def leave(platform, user, **fields):
    body = {"model": "dormouse-chat", **fields}
    answer = platform.post("/v1/completions", user.key, json=body, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def look(platform, user, location):
    return platform.get(location, user.key).raise_for_status().json()


class Poisoning(threading.Thread):
    """Kills the predictor whenever the poison runs there: when its number of attempts has grown,
    and it is in flight."""

    def __init__(self, platform, user, location):
        super().__init__()
        self.platform, self.user, self.location = platform, user, location
        self.killed = []

    def run(self):
        seen = 0
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                found = look(self.platform, self.user, self.location)
                if found["status"] not in ("queued", "running"):
                    return
                if found["status"] == "running" and found["attempts"] > seen and self.kill():
                    seen = found["attempts"]
            time.sleep(0.02)

    def kill(self):
        for each in self.platform.predictors(self.user.key, "chat"):
            if each["pid"] and each["in_flight"]:
                os.kill(each["pid"], signal.SIGKILL)
                self.killed.append(each["pid"])
                self.platform.until(lambda pid=each["pid"]: not psutil.pid_exists(pid))
                return True
        return False


def test_r42_a_request_that_ends_every_predictor_is_given_up_and_its_neighbours_are_not(
    platform, user
):
    assert platform.chat(user.key, max_tokens=1).status_code == 200
    poison = leave(platform, user, **LONG)
    neighbours = [leave(platform, user, prompt=f"Number {n}", max_tokens=300) for n in range(4)]
    poisoning = Poisoning(platform, user, poison)
    poisoning.start()
    poisoning.join()

    found = look(platform, user, poison)
    assert (found["status"], found["refusal"]["code"]) == ("failed", "interrupted")
    assert found["request_id"] in found["refusal"]["message"]
    assert len(poisoning.killed) == 3
    for each in neighbours:
        platform.until(lambda at=each: look(platform, user, at)["status"] == "completed", 60)
    rows = platform.get("/api/v1/usage?limit=200", user.key).json()["items"]
    assert found["request_id"] not in {row["request_id"] for row in rows}  # it got nothing
    assert platform.chat(user.key, max_tokens=1).status_code == 200
