"""`dormouse status`, once and live, and services by hand."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from dormouse import Dormouse

COLUMNS = "Service Status Loaded Predictors Calls Memory Queue Wait Woke in ETA"


def lines(text: str) -> list[str]:
    """The lines of a table, without the blanks that make its columns."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_services_and_processes(signed_in: Any) -> None:
    done = signed_in("status")
    assert done.exit_code == 0
    assert lines(done.stdout) == [
        COLUMNS,
        "chat awake small 1 1 20 MiB 2 90 ms 140 ms",
        "Process Pid State Up Restarts Memory Metrics port",
        "nest 7 running 61 s 1 30 MiB 5003",
    ]
    assert json.loads(signed_in("status", "--json").stdout)["processes"][0]["pid"] == 7


def test_what_wakes_says_how_long_it_may_take(platform: Any, signed_in: Any) -> None:
    """Its process has no pid yet."""
    platform.service_status = "waking"
    line = "chat waking (loading), quarantined: big 1 0 20 MiB 2 90 ms 140 ms 1.2 s"
    assert lines(signed_in("status").stdout)[:2] == [COLUMNS, line]


@pytest.mark.usefixtures("signed_in")
def test_live_until_ctrl_c(platform: Any, terminal: Callable[..., Any]) -> None:
    watching = terminal("status", "--watch")
    watching.wait_for("chat")
    watching.wait_for("awake")
    platform.service_status = "waking"
    watching.wait_for("1.2 s")
    platform.once("GET", "/api/v1/status", lambda _, reply: reply.error(503, "busy", "Too much."))
    watching.wait_for("this is how it was before")
    platform.service_status = "awake"
    seen = watching.screen.count("awake")
    watching.wait_for("awake", times=seen + 1)
    watching.interrupt()
    assert watching.exit_code() == 0


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_live_needs_a_terminal(signed_in: Any, more: list[str]) -> None:
    done = signed_in("status", "--watch", *more)
    assert done.exit_code == 2
    assert "--watch needs a terminal" in done.stderr


@pytest.mark.parametrize(
    ("command", "path", "said"),
    [
        ("wake", "/api/v1/services/chat/wake", "chat is waking.\n"),
        ("sleep", "/api/v1/services/chat/sleep", "chat goes to sleep.\n"),
    ],
)
def test_by_hand(platform: Any, signed_in: Any, command: str, path: str, said: str) -> None:
    platform.service_status = "waking"
    done = signed_in("admin", command, "chat")
    assert (done.exit_code, done.stdout) == (0, said)
    assert len(platform.asked("POST", path)) == 1
    as_json = json.loads(signed_in("admin", command, "chat", "--json").stdout)
    assert as_json["status"] == "waking"


def test_one_service_by_hand(signed_in: Any) -> None:
    done = signed_in("admin", "service", "chat")
    assert lines(done.stdout) == [
        COLUMNS,
        "chat awake small 1 1 20 MiB 2 90 ms 140 ms",
        "Pid Model State Calls Waiting At once Idle Memory",
        "70 small ready 1 0 8 0 s 20 MiB",
    ]
    assert json.loads(signed_in("admin", "service", "chat", "--json").stdout)["queue"] == 2


@pytest.mark.usefixtures("signed_in")
def test_the_library_does_it_too(platform: Any) -> None:
    platform.service_status = "waking"
    with Dormouse(platform.url) as client:
        by_hand = client.admin.services
        found = [by_hand.status("chat"), by_hand.wake("chat"), by_hand.sleep("chat")]
    assert [(each.status, each.eta_ms, each.quarantined) for each in found] == [
        ("waking", 1200, ["big"])
    ] * 3
