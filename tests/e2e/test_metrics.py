"""Every process serves its numbers on a loopback port of its own."""

import httpx
import pytest

NUMBERS = {
    "gateway": "envoy_http_downstream_rq_total",
    "authorizer": "dormouse_checks_total",
    "nest": "dormouse_service_awake",
    "control-plane": "dormouse_usage_events_total",
    "supervisor": 'dormouse_process_restarts_total{process="gateway"}',
}


@pytest.fixture(scope="module")
def status(platform, account):
    assert platform.chat(account.key, max_tokens=1).status_code == 200
    return platform.get("/api/v1/status", account.key).json()


@pytest.mark.parametrize("name", NUMBERS)
def test_every_process_serves_metrics(status, name):
    [process] = [each for each in status["processes"] if each["name"] == name]
    text = httpx.get(f"http://127.0.0.1:{process['metrics_port']}/metrics").text
    assert NUMBERS[name] in text


def test_predictors_serve_metrics_too(status):
    [chat] = [each for each in status["services"] if each["id"] == "chat"]
    [predictor] = chat["predictors"]
    text = httpx.get(f"http://127.0.0.1:{predictor['metrics_port']}/metrics").text
    assert 'model="dormouse-chat"' in text


def test_the_status_knows_every_process_and_its_memory(status):
    assert {each["name"] for each in status["processes"]} == set(NUMBERS)
    for process in status["processes"]:
        assert process["state"] == "running"
        assert process["memory_bytes"] > 10_000_000
