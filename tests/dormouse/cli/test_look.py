import json
import time
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def lines(text: str) -> list[str]:
    """The lines of a table, without the blanks that make its columns."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_services_are_a_table(platform: Any, signed_in: Any) -> None:
    platform.service_status, platform.service_stage = "waking", "loading"
    done = signed_in("services")
    assert done.exit_code == 0
    assert lines(done.stdout) == [
        "Service Status Entitled Models Per 1000 tokens in / out",
        "embeddings waking (loading) no mini 0.0002 / 0.0006 USD",
        "chat waking (loading) yes small (loaded) 0.0002 / 0.0006 USD",
    ]


def test_services_as_json_are_what_the_server_sent(platform: Any, signed_in: Any) -> None:
    items = json.loads(signed_in("services", "--json").stdout)["items"]
    assert items == [platform.service("embeddings"), platform.service("chat")]


def test_what_the_server_sends_is_no_markup_and_steers_no_terminal(
    platform: Any, signed_in: Any
) -> None:
    platform.service_status, platform.service_stage = "waking", "[red]lo\x1b[2Jading\x9b"
    assert "waking ([red]lo[2Jading)" in signed_in("services").stdout


def test_entitling(platform: Any, signed_in: Any) -> None:
    assert signed_in("entitle", "embeddings").stdout == "You may call embeddings now.\n"
    assert "embeddings" in platform.entitled
    platform.once(
        "POST",
        "/api/v1/entitlements",
        lambda _, reply: reply.json(201, {"service": "chat", "status": "pending"}),
    )
    assert "somebody has to agree first" in signed_in("entitle", "chat").stdout
    assert json.loads(signed_in("entitle", "chat", "--json").stdout)["status"] == "active"
