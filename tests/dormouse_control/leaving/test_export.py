"""All that is stored about somebody, as one archive."""

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert
from starlette.testclient import TestClient

from dormouse_control.leaving import export
from dormouse_control.usage.models import UsageEntry
from dormouse_control.wiring import Platform
from fixtures.asynchronous import ask_async
from fixtures.control_plane import Account

FIELDS = {
    "account": {"id", "email", "status", "role", "tier", "created_at", "email_verified_at"}
    | {"totp_confirmed_at"},
    "sessions": {"id", "user_id", "created_at", "expires_at", "rotated_at", "last_used_at"}
    | {"revoked_at", "method", "second_factor", "address", "user_agent"},
    "keys": {"id", "user_id", "name", "prefix", "created_at", "last_used_at", "revoked_at"}
    | {"expires_at", "services", "models", "endpoints", "ip_ranges", "requests_per_minute"}
    | {"tokens_per_minute", "concurrent_calls", "tags", "budget_nano", "budget_period"},
    "budgets": {"id", "subject", "subject_id", "period", "limit_nano", "thresholds", "created_at"},
    "entitlements": {"id", "user_id", "service", "status", "created_at", "expires_at", "reason"}
    | {"decided_at"},
    "groups": {"id", "name", "added_at"},
    "webhooks": {"id", "request_id", "user_id", "url", "state", "attempts", "next_at", "due_from"}
    | {"reply", "problem"},
}
REQUEST = {"id", "user_id", "credential", "address", "call_id", "endpoint", "path", "service"}
REQUEST |= {"model", "headers", "status", "attempt", "interruptions", "created_at", "deadline_at"}
REQUEST |= {"next_at", "lease_until", "started_at", "ended_at", "status_code", "refusal"}
REQUEST |= {"asked_bytes", "answered_bytes", "asked", "answered"}


def _archive(account: Account) -> zipfile.ZipFile:
    answer = account.get("/api/v1/me/export")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["cache-control"] == "no-store"
    assert "attachment" in answer.headers["content-disposition"]
    return zipfile.ZipFile(io.BytesIO(answer.content))


def test_everything_of_mine_is_in_it(
    ada: Account,
    administrator: Account,
    internal: TestClient,
    usage_event: Callable[..., Any],
) -> None:
    ada.post("/api/v1/entitlements", {"service": "draw", "reason": "I paint"})
    key = ada.key("laptop")
    group = administrator.post("/api/v1/groups", {"name": "Painters"}).json()["id"]
    administrator.put(f"/api/v1/groups/{group}/members/{ada.id}", None)
    for subject in (ada.id, key["id"], administrator.id, group):
        administrator.put(f"/api/v1/budgets/{subject}/month", {"limit": 5})
    event = usage_event(ada.id, end_user="somebody")
    internal.post("/internal/v1/events", json={"events": [event]})

    archive = _archive(ada)

    assert sorted(archive.namelist()) == [
        "README.txt",
        "account.json",
        "audit.jsonl",
        "budgets.json",
        "entitlements.json",
        "groups.json",
        "identities.json",
        "invitations.json",
        "keys.json",
        "requests.jsonl",
        "sessions.json",
        "usage.jsonl",
        "webhooks.json",
    ]
    found = {name: json.loads(archive.read(f"{name}.json")) for name in FIELDS}
    assert found["account"]["email"] == "ada@example.org"
    assert found["entitlements"][0]["reason"] == "I paint"
    assert found["groups"][0]["name"] == "Painters"
    assert found["keys"][0]["name"] == "laptop"
    assert {each["subject_id"] for each in found["budgets"]} == {ada.id, key["id"]}
    (call,) = [json.loads(line) for line in archive.read("usage.jsonl").splitlines()]
    assert (call["request_id"], call["end_user"]) == ("req-1", "somebody")
    actions = [json.loads(line)["action"] for line in archive.read("audit.jsonl").splitlines()]
    assert {"entitlement.ask"} <= set(actions)
    readme = archive.read("README.txt").decode()
    assert all(name in readme for name in archive.namelist() if name != "README.txt")
    everything = b"".join(archive.read(name) for name in archive.namelist()).decode()
    assert key["key"] not in everything
    assert ada.refresh_token not in everything


def test_it_has_these_columns_and_none_that_is_secret(ada: Account, administrator: Account) -> None:
    ada.post("/api/v1/entitlements", {"service": "chat"})
    ada.key()
    administrator.put(f"/api/v1/budgets/{ada.id}/day", {"limit": 5})
    secret = ada.post("/api/v1/webhook-secret", None).json()["secret"]
    asked = ask_async(ada, webhook="https://example.org/hook")
    archive = _archive(ada)

    [request] = [json.loads(line) for line in archive.read("requests.jsonl").splitlines()]
    assert set(request) == REQUEST
    assert (request["id"], request["answered"]) == (asked["id"], None)
    assert json.loads(request["asked"])["model"] == "small"
    assert secret not in b"".join(archive.read(name) for name in archive.namelist()).decode()

    for name, fields in FIELDS.items():
        found = json.loads(archive.read(f"{name}.json"))
        for item in found if isinstance(found, list) else [found]:
            assert set(item) == fields, name


def test_nothing_of_others_is_in_it(
    ada: Account,
    administrator: Account,
    sign_up: Callable[..., Account],
    internal: TestClient,
    usage_event: Callable[..., Any],
) -> None:
    bob = sign_up("bob@example.org")
    for user in (ada, bob):
        user.post("/api/v1/entitlements", {"service": "chat"})
        user.key()
    internal.post("/internal/v1/events", json={"events": [usage_event(bob.id)]})
    administrator.patch(f"/api/v1/users/{ada.id}", {"role": "operator"})

    archive = _archive(ada)

    everything = b"".join(archive.read(name) for name in archive.namelist()).decode()
    for other in (bob, administrator):
        assert other.id not in everything
        assert other.email not in everything
        assert other.refresh_token.partition(".")[0] not in everything
    assert '"user.change"' in everything


def test_many_calls_need_little_memory(ada: Account, platform: Platform) -> None:
    count = 20_000
    row = {
        "time": datetime(2030, 1, 1, tzinfo=UTC),
        "user_id": ada.id,
        "credential": "ses_x",
        "service": "chat",
        "model": "small",
        "endpoint": "completions",
        "outcome": "completed",
        "cost_nano": 0,
        "end_user": "x" * 200,
        "received_at": datetime(2030, 1, 1, tzinfo=UTC),
    }
    numbers = ("prompt_tokens", "completion_tokens", "duration_ms", "queue_ms", "load_ms")
    row |= dict.fromkeys((*numbers, "cold_start_ms"), 1)
    with platform.database.sessions.begin() as session:
        session.execute(insert(UsageEntry), [row | {"request_id": f"r{n}"} for n in range(count)])

    class Counting(io.RawIOBase):
        lines = 0

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.lines += 1
            return len(data)

    with platform.database.reads() as reading:
        tracemalloc.start()
        export.write(reading, Counting(), user_id=ada.id, now=platform.clock())
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 8 * 2**20  # all rows at once would be some 40 MiB
