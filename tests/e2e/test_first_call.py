"""The way a new user goes: sign up, key, wake a sleeping model, stream its answer, see its cost."""

import json
import time

import httpx
import psutil
import pytest


@pytest.fixture(scope="module")
def sleepy(start_platform):
    return start_platform(idle_seconds=1)


def test_sign_up_wake_stream_and_bill(sleepy):
    user = sleepy.sign_up()
    assert sleepy.chat(user.key).status_code == 403
    assert sleepy.predictors(user.key, "chat") == []  # refused before anything woke
    answer = sleepy.post("/api/v1/entitlements", user.access_token, json={"service": "chat"})
    assert answer.json()["status"] == "active"

    first = sleepy.chat(user.key)  # the entitlement reaches the authorizer by itself
    assert first.status_code == 200, first.text
    cold = int(first.headers["x-dormouse-cold-start-ms"])
    assert first.headers["x-dormouse-model"] == "dormouse-chat"
    second = sleepy.chat(user.key)
    assert "x-dormouse-cold-start-ms" not in second.headers
    assert "ormouse" in first.json()["choices"][0]["message"]["content"]
    assert second.json()["choices"] == first.json()["choices"]  # greedy

    row = sleepy.usage(user.access_token, first.headers["x-request-id"])
    usage = first.json()["usage"]
    assert row["prompt_tokens"] == usage["prompt_tokens"] > 0
    assert row["completion_tokens"] == usage["completion_tokens"] > 0
    assert row["cold_start_ms"] == cold
    assert row["key_id"] == user.key_id
    assert row["cost"] == pytest.approx(
        usage["prompt_tokens"] * 2e-7 + usage["completion_tokens"] * 6e-7
    )


def test_after_idle_seconds_the_process_and_its_memory_are_gone(sleepy):
    user = sleepy.sign_up("chat")
    sleepy.chat(user.key)
    [predictor] = sleepy.predictors(user.key, "chat")
    process = psutil.Process(predictor["pid"])
    assert predictor["memory_bytes"] > 0
    sleepy.until(lambda: sleepy.predictors(user.key, "chat") == [], 10)
    assert sleepy.status(user.key, "chat")["status"] == "asleep"
    sleepy.until(lambda: not process.is_running(), 5)
    assert "x-dormouse-cold-start-ms" in sleepy.chat(user.key).headers


def test_no_call_is_lost_while_the_predictor_comes_and_goes(start_platform):
    platform = start_platform(idle_seconds=0.2, requests_per_minute=100_000)
    user = platform.sign_up("chat")
    cold = 0
    for number in range(40):
        # Pauses around idle_seconds: many calls fall into the moment of going to sleep.
        answer = platform.chat(user.key, max_tokens=2)
        assert answer.status_code == 200, answer.text
        cold += "x-dormouse-cold-start-ms" in answer.headers
        time.sleep(0.1 + 0.02 * (number % 15))
    assert cold >= 5  # it really slept in between


def test_a_stream_survives_a_shutdown_that_begins_meanwhile(start_platform):
    platform = start_platform()
    user = platform.sign_up("chat")
    body = {
        "model": "dormouse-chat",
        "messages": [{"role": "user", "content": "What is Dormouse?"}],
        "stream": True,
        "max_tokens": 400,
        "temperature": 1,
        "logit_bias": {"1": -100},  # never <|end|>: it is still running when the end begins
    }
    with httpx.stream(
        "POST",
        platform.url + "/v1/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {user.key}"},
        timeout=60,
    ) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["choices"]
        platform.process.terminate()
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert platform.process.wait(30) == 0
