"""T53: while the authorizer is killed or hangs nobody passes who may not; then all is as before."""

import collections
import contextlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

CHAT = "/v1/chat/completions"
BODY = {"model": "dormouse-chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
STRANGERS = 3000


@pytest.fixture(scope="module")
def victim(start_platform):
    return start_platform(requests_per_minute=100_000)


@pytest.fixture(scope="module")
def user(victim):
    found = victim.sign_up("chat")
    assert victim.chat(found.key, max_tokens=1).status_code == 200
    return found


def _authorizer(victim, user):
    return victim.pids(user.key)["authorizer"]


def _strangers(victim, user, count):
    """Statuses of calls with forged headers and credentials of nobody, or of one without right."""
    [predictor] = victim.predictors(user.key, "chat")
    outsider = victim.sign_up()
    forged = {
        "x-envoy-original-dst-host": f"127.0.0.1:{predictor['port']}",
        "x-dormouse-user": "usr_x",
        "x-ext-authz-check-result": "allowed",
        "x-dormouse-worker": "0",
    }
    credentials = ["Bearer x", f"Bearer dm_{'x' * 43}", f"Bearer {outsider.key}", "Basic eDp4", ""]

    def calls(number):
        seen = collections.Counter()
        with httpx.Client(base_url=victim.url, timeout=20) as client:
            for at in range(count // 8):
                headers = forged | {"authorization": credentials[(number + at) % 5]}
                try:
                    seen[client.post(CHAT, json=BODY, headers=headers).status_code] += 1
                except httpx.HTTPError:
                    seen["lost"] += 1
        return seen

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(calls, range(8)), collections.Counter())


def test_t53_of_thousands_none_passes_while_the_authorizer_is_killed(victim, user):
    stop = threading.Event()

    def kill():
        while not stop.wait(0.7):
            with contextlib.suppress(ProcessLookupError, KeyError, httpx.HTTPError):
                os.kill(_authorizer(victim, user), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        seen = _strangers(victim, user, STRANGERS)
    finally:
        stop.set()
        killer.join()
    assert sum(seen.values()) == STRANGERS
    assert set(seen) <= {401, 403, 503}
    assert victim.until(lambda: victim.chat(user.key, max_tokens=1).status_code == 200, 20) < 5


def test_t53_an_authorizer_that_hangs_holds_everybody_back(victim, user):
    pid = _authorizer(victim, user)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(1)  # decisions that it made before are over
        statuses = []
        for key in (user.key, "dm_" + "x" * 43):
            for _ in range(5):
                with contextlib.suppress(httpx.TimeoutException):
                    statuses.append(victim.post(CHAT, key, json=BODY, timeout=0.5).status_code)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert 200 not in statuses
    assert victim.until(lambda: victim.chat(user.key, max_tokens=1).status_code == 200, 20) < 5


def test_health_and_sign_in_need_no_authorizer(victim, user):
    pid = _authorizer(victim, user)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert victim.get("/healthz").status_code == 200
        login = {"email": user.email, "password": "a long enough password"}
        assert victim.post("/api/v1/sessions", json=login).status_code == 201
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
