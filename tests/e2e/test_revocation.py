"""Whoever loses the right to call loses it in mid-stream, soon, and is charged what was made."""

import json
import os
import signal
import sqlite3
import threading
import time
from dataclasses import dataclass, field

import httpx
import pytest

END_TOKEN = "1"  # <|end|> of the starter model
WITHIN = 5.0
AT_ONCE = 8  # calls that the starter model answers side by side; others wait


@dataclass
class Stream:
    """A streamed chat that would go on for long; read by a thread of its own."""

    platform: object
    token: str
    fields: dict = field(default_factory=dict)
    status: int | None = None
    request_id: str | None = None
    events: list = field(default_factory=list)
    ended: float | None = None

    def start(self):
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def _read(self):
        body = {
            "model": "dormouse-chat",
            "messages": [{"role": "user", "content": "What is Dormouse?"}],
            "stream": True,
            "max_tokens": 1900,
            "logit_bias": {END_TOKEN: -100},
            "n": 8,
            **self.fields,
        }
        headers = {"authorization": f"Bearer {self.token}"}
        url = self.platform.url + "/v1/chat/completions"
        with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
            self.status = answer.status_code
            self.request_id = answer.headers["x-request-id"]
            for line in answer.iter_lines():
                if line:
                    self.events.append(line.removeprefix("data: "))
        self.ended = time.monotonic()

    @property
    def tokens(self):
        return sum('"delta":{"content":' in event for event in self.events)

    def error(self):
        return json.loads(self.events[-1])["error"]

    def join(self, seconds):
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"still open, {self.tokens} tokens"


def revoke_key(platform, victim, _administrator):
    return platform.call("DELETE", f"/api/v1/keys/{victim.key_id}", victim.access_token)


def give_up(platform, victim, _administrator):
    return platform.call("DELETE", "/api/v1/entitlements/chat", victim.access_token)


def sign_out(platform, victim, _administrator):
    return platform.call("DELETE", "/api/v1/sessions/current", victim.access_token)


def disable(platform, victim, administrator):
    me = platform.get("/api/v1/me", victim.access_token).json()["id"]
    path = f"/api/v1/users/{me}"
    return platform.call("PATCH", path, administrator, json={"status": "disabled"})


@pytest.mark.parametrize(
    ("credential", "take_away"),
    [
        pytest.param("key", revoke_key, id="key-revoked"),
        pytest.param("access_token", sign_out, id="session-ended"),
        pytest.param("key", give_up, id="entitlement-given-up"),
        pytest.param("key", disable, id="user-disabled"),
    ],
)
def test_t11_an_open_stream_is_cut(platform, administrator, account, credential, take_away):
    victim = platform.sign_up("chat", "embeddings")
    platform.chat(account.key)
    running = [Stream(platform, getattr(victim, credential)).start() for _ in range(AT_ONCE)]
    platform.until(lambda: all(each.tokens >= 3 for each in running), 60)
    stream = running[0]
    waiting = Stream(platform, getattr(victim, credential)).start()
    other = Stream(platform, account.key, {"max_tokens": 20, "n": 1}).start()
    time.sleep(0.5)  # now both wait at the predictor

    answer = take_away(platform, victim, administrator)
    began = time.monotonic()
    assert answer.status_code in (200, 204), answer.text

    for each in (*running, waiting, other):
        each.join(WITHIN)
    for each in running:
        assert each.ended - began < 1.5
        assert (each.status, each.error()["code"]) == (200, "access_revoked")
        assert "[DONE]" not in each.events
    assert (waiting.status, waiting.error()["code"]) == (403, "access_revoked")
    assert (other.status, other.events[-1], other.tokens) == (200, "[DONE]", 20)
    row = _row(platform, stream.request_id)
    assert row["outcome"] == "revoked"
    assert row["completion_tokens"] >= stream.tokens > 0
    assert row["completion_tokens"] - stream.tokens <= 8
    refused = platform.chat(getattr(victim, credential))
    assert refused.status_code in (401, 403)


def _row(platform, request_id):
    """From the ledger itself: who was cut off may not be able to look any more."""
    found = []

    def arrived():
        with sqlite3.connect(f"file:{platform.home}/dormouse.db?mode=ro", uri=True) as database:
            database.row_factory = sqlite3.Row
            query = "SELECT * FROM usage_entry WHERE request_id = ?"
            found[:] = database.execute(query, (request_id,)).fetchall()
        return found

    platform.until(arrived, 10)
    [row] = found
    return row


def test_a_right_that_comes_back_counts_at_once(platform):
    victim = platform.sign_up("chat")
    for _ in range(5):
        assert platform.chat(victim.key).status_code == 200
        give_up(platform, victim, None)
        again = platform.post("/api/v1/entitlements", victim.access_token, json={"service": "chat"})
        assert again.status_code == 201
        answer = platform.chat(victim.key)
        assert answer.status_code == 200, answer.text


def test_a_control_plane_that_is_away_cuts_nobody(start_platform):
    platform = start_platform()
    account = platform.sign_up("chat")
    stream = Stream(platform, account.key, {"n": 2}).start()
    platform.until(lambda: stream.tokens >= 3, 20)
    pid = platform.pids(account.key)["control-plane"]
    os.kill(pid, signal.SIGKILL)
    stream.join(60)
    assert stream.events[-1] == "[DONE]"
    platform.until(lambda: platform.get("/api/v1/me", account.key).status_code == 200, 20)

    stream = Stream(platform, account.key).start()
    platform.until(lambda: stream.tokens >= 3, 20)
    revoke_key(platform, account, None)
    stream.join(WITHIN)
    assert stream.error()["code"] == "access_revoked"


def test_t10_signing_keys_are_replaced_while_calls_run(platform, administrator, account):
    """No caller is refused, neither with a token of before nor with one of after."""
    stop, statuses = threading.Event(), []

    def call():
        while not stop.is_set():
            statuses.append(platform.chat(account.access_token, max_tokens=1).status_code)
            statuses.append(platform.get("/api/v1/me", account.access_token).status_code)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for _ in range(3):
        answer = platform.post("/api/v1/signing-keys", administrator)
        assert answer.status_code == 201, answer.text
        time.sleep(0.5)
        fresh = platform.sign_up("chat")
        assert platform.chat(fresh.access_token, max_tokens=1).status_code == 200
    stop.set()
    for caller in callers:
        caller.join()

    assert set(statuses) == {200}, {status: statuses.count(status) for status in set(statuses)}
    assert len(statuses) > 20
