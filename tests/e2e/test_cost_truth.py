"""Where a predictor's life went: computing, loading and idling of its calls make up all of it."""

import os
import signal
import time

import pytest
from sqlalchemy import create_engine, text

LIVES = (
    "SELECT instance, (julianday(ended) - julianday(woke)) * 86400000 FROM awake_period"
    " WHERE shared_at IS NOT NULL ORDER BY ended"
)
CALLS = (
    "SELECT count(*), sum(compute_ms), sum(load_ms), sum(idle_ms), count(idle_ms)"
    " FROM usage_entry WHERE predictor = :instance"
)


@pytest.fixture(scope="module")
def sleepy(start_platform):
    return start_platform(idle_seconds=1.5, requests_per_minute=100_000)


def lives(platform):
    """Of every predictor that is known to have ended: its ms, and its calls' sums."""
    engine = create_engine(f"sqlite:///{platform.home}/dormouse.db")
    with engine.connect() as connection:
        found = [
            (round(lasted), *connection.execute(text(CALLS), {"instance": instance}).one())
            for instance, lasted in connection.execute(text(LIVES)).all()
        ]
    engine.dispose()
    return found


def test_a_predictors_life_is_its_calls(sleepy):
    user = sleepy.sign_up("chat")
    answers = [sleepy.chat(user.key, max_tokens=4) for _ in range(3)]
    sleepy.until(lambda: lives(sleepy), 20)
    [(lasted, calls, computed, loaded, idle, shared)] = lives(sleepy)
    assert calls == shared == 3
    assert computed > 0
    assert loaded > 0
    assert idle >= 1400  # it fell asleep after that
    assert computed + loaded + idle == pytest.approx(lasted, abs=1)
    rows = [sleepy.usage(user.key, answer.headers["x-request-id"]) for answer in answers]
    assert sum(row["idle_ms"] for row in rows) == idle
    assert [row["load_ms"] > 0 for row in rows] == [True, False, False]
    [group] = sleepy.get("/api/v1/usage/totals", user.key).json()["items"]
    assert (group["requests"], group["idle_ms"]) == (3, idle)


@pytest.mark.parametrize(
    "killed", [("nest",), ("predictor",), ("control-plane", "nest", "predictor")]
)
def test_a_life_that_was_cut_short_is_told_too(sleepy, killed):
    user = sleepy.sign_up("chat")
    before = len(lives(sleepy))
    id = sleepy.chat(user.key, max_tokens=4).headers["x-request-id"]
    time.sleep(0.7)
    for name, pid in sleepy.pids(user.key).items():
        if name.startswith(killed):
            os.kill(pid, signal.SIGKILL)
    sleepy.until(lambda: len(lives(sleepy)) > before, 30)
    row = sleepy.usage(user.key, id)
    assert row["compute_ms"] + row["load_ms"] + row["idle_ms"] >= 600
    lasted = lives(sleepy)[-1][0]
    assert row["idle_ms"] <= lasted < 20_000
