"""`client.audit` and `dormouse audit`."""

import json
from typing import Any

import pytest

HEAD = "2:" + "a" * 64


def entries(request: Any, reply: Any) -> None:
    start = int(request.query.get("after", ["3"])[0])
    entry = {
        "seq": start,
        "time": "2030-01-01T00:00:00Z",
        "actor": "usr_1",
        "action": "key.create",
        "outcome": "done",
        "subject": "key_1",
        "details": {"name": "\u202egnp\x1b[31m"},
        "previous": "0" * 64,
        "hash": "a" * 64,
    }
    reply.json(200, {"items": [entry], "next": str(start - 1) if start > 1 else None})


def verification(request: Any, reply: Any) -> None:
    bad = request.query.get("expect", [HEAD]) != [HEAD]
    last = {"seq": 2, "hash": "a" * 64}
    problem = "entry 2 is not the one that was noted" if bad else None
    reply.json(200, {"entries": 2, "last": last, "problem": problem})


@pytest.fixture
def audited(platform: Any) -> Any:
    platform.always("GET", "/api/v1/audit", entries)
    platform.always("GET", "/api/v1/audit/verification", verification)
    return platform


def test_a_search_goes_on_over_its_pages_with_the_same_filters(audited: Any, client: Any) -> None:
    page = client.audit.list(action="key", actor="usr_1", limit=1)

    assert [entry.seq for entry in page] == [3, 2, 1]
    assert page.items[0].details["name"].startswith("\u202e")
    asked = [request.query for request in audited.requests]
    same = {"action": ["key"], "actor": ["usr_1"], "limit": ["1"]}
    assert asked[-3:] == [same, same | {"after": ["2"]}, same | {"after": ["1"]}]


@pytest.mark.usefixtures("audited")
def test_a_verification_says_what_is_wrong(client: Any) -> None:
    assert client.audit.verify().problem is None
    assert client.audit.verify(expect=HEAD).last.seq == 2
    assert client.audit.verify(expect="2:" + "b" * 64).problem == (
        "entry 2 is not the one that was noted"
    )


@pytest.fixture
def audit(audited: Any, signed_in: Any) -> Any:
    assert audited.requests == []
    return lambda *arguments: signed_in("audit", *arguments)


def test_the_command_shows_entries_and_no_character_that_steers(audit: Any) -> None:
    done = audit("list", "--limit", "2")

    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 3
    assert "\\u202egnp\\u001b[31m" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert [each["seq"] for each in json.loads(audit("list", "--json").stdout)["items"]] == [
        3,
        2,
        1,
    ]


def test_the_command_fails_when_the_log_is_damaged(audit: Any) -> None:
    sound, damaged = audit("verify"), audit("verify", "--expect", "2:" + "b" * 64)

    assert (sound.exit_code, damaged.exit_code) == (0, 1)
    assert HEAD in sound.stdout
    assert "damaged: entry 2 is not the one that was noted" in damaged.stdout
    assert audit("verify", "--expect", "2:" + "b" * 64, "--json").exit_code == 1
