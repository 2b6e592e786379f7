"""Waking by hand, several predictors of a service, and a crowd at a service that sleeps."""

import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

SERVICES = Path(__file__).parents[2] / "services"


def ready(platform, token, service="chat"):
    return [each for each in platform.predictors(token, service) if each["state"] == "ready"]


def test_an_operator_wakes_and_puts_to_sleep(start_platform):
    platform = start_platform()
    operator = platform.first_administrator()
    woken = platform.post("/api/v1/services/chat/wake", operator)
    assert woken.status_code == 202, woken.text
    platform.until(lambda: ready(platform, operator), 60)
    assert platform.post("/api/v1/services/chat/sleep", operator).status_code == 202
    platform.until(lambda: platform.predictors(operator, "chat") == [], 30)
    actions = [each["action"] for each in platform.get("/api/v1/audit", operator).json()["items"]]
    assert [each for each in actions if each.startswith("service.")] == [
        "service.sleep",
        "service.wake",
    ]


def test_a_crowd_at_a_service_that_sleeps_is_answered_or_told_when_to_come_back(start_platform):
    platform = start_platform(concurrent_calls=1000)
    account = platform.sign_up("chat")
    with ThreadPoolExecutor(160) as crowd:
        answers = list(crowd.map(lambda _: platform.chat(account.key, max_tokens=1), range(160)))
    codes = Counter(each.status_code for each in answers)
    assert set(codes) <= {200, 429}, codes
    assert codes[200] >= 100
    for each in answers:
        if each.status_code == 429:
            assert each.json()["error"]["code"] == "queue_full"
            assert int(each.headers["retry-after"]) >= 1
    assert len(ready(platform, account.access_token)) == 1


def test_calls_that_pile_up_start_another_predictor_and_both_answer(start_platform, tmp_path):
    shutil.copytree(SERVICES, tmp_path / "services")
    file = tmp_path / "services" / "chat" / "service.yaml"
    spec = yaml.safe_load(file.read_text())
    spec["scale"] |= {"max_replicas": 2, "idle_seconds": 3}
    file.write_text(yaml.safe_dump(spec))
    platform = start_platform(services=tmp_path / "services", requests_per_minute=100_000)
    account = platform.sign_up("chat")
    platform.chat(account.key, max_tokens=1)

    enough = threading.Event()

    def call_again_and_again(_):
        body = {"model": "dormouse-chat", "prompt": ["Dormouse is"] * 8, "n": 4, "max_tokens": 100}
        found = []
        while not enough.is_set():
            found.append(platform.post("/v1/completions", account.key, json=body))
        return found

    def both_work():
        found = ready(platform, account.access_token)
        return len(found) == 2 and all(each["in_flight"] for each in found)

    with ThreadPoolExecutor(16) as crowd:
        callers = [crowd.submit(call_again_and_again, number) for number in range(16)]
        try:
            platform.until(both_work, 60)
        finally:
            enough.set()
        answers = [answer for each in callers for answer in each.result(120)]
    assert {each.status_code for each in answers} == {200}, [each.text for each in answers]
    platform.until(lambda: platform.predictors(account.access_token, "chat") == [], 60)
