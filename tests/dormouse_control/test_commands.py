"""The library and the command against a real control plane, for all that administrators do."""

import csv
import io
import json
import logging
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvicorn
from typer.testing import CliRunner, Result

from dormouse import Dormouse, NotFoundError
from dormouse.cli.main import app
from dormouse.resources.users import NoSuchUser
from dormouse_control.app import public_app
from dormouse_control.identity.models import Role
from dormouse_control.wiring import Platform
from fixtures.control_plane import PASSWORD, Account

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """No log of the server between what the command prints in the same process."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.fixture
def address(platform: Platform) -> Iterator[str]:
    """Where the control plane really listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(public_app(platform), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def root(administrator: Account, address: str) -> Iterator[Dormouse]:
    with Dormouse(address, email=administrator.email, password=PASSWORD) as client:
        yield client


@pytest.fixture
def run(
    administrator: Account, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """The command, signed in as an administrator."""
    monkeypatch.setenv("DORMOUSE_BASE_URL", address)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("DORMOUSE_CREDENTIALS", str(tmp_path / "credentials"))

    def run(*arguments: str, stdin: str | None = None, code: int = 0) -> Result:
        done = CliRunner().invoke(app, list(arguments), input=stdin)
        assert done.exit_code == code, done.stderr
        return done

    run("login", "--email", administrator.email, "--password-stdin", stdin=PASSWORD + "\n")
    return run


def test_the_library_administrates(root: Dormouse, ada: Account) -> None:
    users = root.admin.users
    assert users.find("ADA@example.org").id == users.find(ada.id).id == ada.id
    with pytest.raises(NoSuchUser):
        users.find("da@example.org")
    with pytest.raises(NotFoundError):
        users.find("usr_nobody")
    key = ada.key("laptop")["id"]
    assert [each.id for each in users.keys(ada.id)] == [key]
    users.revoke_key(ada.id, key)
    assert list(users.keys(ada.id)) == []
    assert users.change(ada.id, role="operator").role == "operator"
    assert users.grant(ada.id, "draw", reason="art").reason == "art"
    users.take_away(ada.id, "draw", reason="over")
    users.forget_attempts(ada.id)
    users.remove_second_factor(ada.id)
    users.end_sessions(ada.id)
    assert ada.get("/api/v1/me").status_code == 401
    users.delete(ada.id)
    assert users.get(ada.id).status == "erased"


def test_the_library_knows_groups_tiers_requests_and_access(root: Dormouse, ada: Account) -> None:
    group = root.admin.groups.create("Painters")
    root.admin.groups.add_member(group.id, ada.id)
    assert root.admin.groups.grant(group.id, "draw", reason="art").service == "draw"
    assert [each.user for each in root.admin.groups.members(group.id)] == [ada.id]
    assert root.admin.groups.get(group.id).entitlements[0].reason == "art"
    (row,) = root.admin.access.list(user=ada.id, unused_days=1)
    assert (row.through, row.service, row.keys) == ("Painters", "draw", 0)
    file = io.BytesIO()
    root.admin.access.csv(file, service="draw")
    assert [line["user"] for line in csv.DictReader(io.StringIO(file.getvalue().decode()))] == [
        ada.id
    ]
    assert root.admin.groups.rename(group.id, "Drawers").name == "Drawers"
    root.admin.groups.take_away(group.id, "draw")
    root.admin.groups.remove_member(group.id, ada.id)
    root.admin.groups.delete(group.id)
    assert list(root.admin.groups.list()) == []

    assert root.admin.tiers.put("gold", "Gold", monthly_budget=5).monthly_budget == 5
    assert [tier.id for tier in root.admin.tiers.list()] == ["gold", "standard"]
    root.admin.tiers.delete("gold")
    limits = {"tokens_per_minute": 9, "concurrent_calls": 8, "queued_calls": 7, "max_body_mb": 6}
    made = root.admin.tiers.put("gold", "Gold", **limits)
    assert {name: getattr(made, name) for name in limits} == limits

    ada.post("/api/v1/entitlements", {"service": "draw", "reason": "I paint"})
    (request,) = root.admin.requests.list()
    assert (request.user, request.service, request.reason) == (ada.id, "draw", "I paint")
    assert root.admin.users.refuse(ada.id, "draw").status == "refused"


def test_the_library_knows_budgets(root: Dormouse, ada: Account, address: str) -> None:
    made = root.admin.budgets.set(ada.id, "day", 2, thresholds=[(50, "refuse_gpu")])
    assert (made.limit, made.left, made.thresholds[0].action) == (2, 2, "refuse_gpu")
    assert [each.at_percent for each in root.admin.budgets.set(ada.id, "day", 3).thresholds] == [
        80,
        100,
    ]
    for period in ("month", "total"):
        root.admin.budgets.set(ada.id, period, 9)
    assert [each.period for each in root.admin.budgets.list()] == ["day", "month", "total"]
    found = root.admin.budgets.of(ada.id)
    assert (found.currency, [each.limit for each in found]) == ("USD", [3, 9, 9])
    with Dormouse(address, email=ada.email, password=PASSWORD) as client:
        client.keys.create("k", budget={"amount": 1, "period": "day"}, tags={"project": "atlas"})
        (key,) = client.keys.list()
        assert (key.tags, key.name) == ({"project": "atlas"}, "k")
        mine = client.budgets.list()
        assert [each.name for each in mine if each.source == "key"] == ["k"]
        assert len(list(mine)) == 4
    for period in ("day", "month", "total"):
        root.admin.budgets.remove(ada.id, period)
    with pytest.raises(NotFoundError):
        root.admin.budgets.remove(ada.id, "day")


def test_budgets_on_the_command_line(run: Run, ada: Account) -> None:
    said = run("budgets", "set", ada.email, "20/month").stdout
    assert said == (f"{ada.email} may spend 20 (month). 80 %: notify, 100 %: refuse.\n")
    chosen = ("--notify", "50", "--notify", "75", "--lower-priority", "90", "--refuse-gpu", "120")
    made = json.loads(run("budgets", "set", ada.id, "0.5/day", *chosen, "--json").stdout)
    assert [(each["at_percent"], each["action"]) for each in made["thresholds"]] == [
        (50, "notify"),
        (75, "notify"),
        (90, "lower_priority"),
        (120, "refuse_gpu"),
    ]
    group = json.loads(run("admin", "groups", "create", "Painters", "--json").stdout)["id"]
    run("budgets", "set", group, "1/total", "--refuse", "100")
    listed = run("budgets", "list", "--all").stdout
    for part in (ada.id, "group Painters", "20/month", "0 USD", "20 USD", "never", "refuse gpu"):
        assert part in listed
    assert "0.5/day" in run("budgets", "list", "--of", ada.email).stdout
    assert json.loads(run("budgets", "list", "--json").stdout) == {"items": [], "currency": "USD"}
    assert "(day)" in run("budgets", "remove", ada.email, "day").stdout
    assert "(not_found)" in run("budgets", "remove", ada.email, "day", code=1).stderr
    for wrong in (
        ("set", ada.id, "20"),
        ("set", ada.id, "20/week"),
        ("set", ada.id, "--", "-5/day"),
        ("set", ada.id, "5/day", "--refuse", "0"),
        ("list", "--all", "--of", ada.id),
    ):
        run("budgets", *wrong, code=2)


def test_the_library_shows_exports_and_erases_what_is_mine(ada: Account, address: str) -> None:
    client = Dormouse(address, email=ada.email, password=PASSWORD)
    assert client.entitlements.create("draw", reason="I paint").status == "pending"
    found = client.workspace.get()
    assert (found.account.email, found.requests[0].reason) == (ada.email, "I paint")
    assert found.usage.all.requests == 0
    file = io.BytesIO()
    client.workspace.export(file)
    assert "account.json" in zipfile.ZipFile(file).namelist()
    client.workspace.erase(password=PASSWORD)
    assert ada.get("/api/v1/me").status_code == 401
    client.close()


def test_a_wrong_password_is_sent_once(ada: Account, address: str, audited: Any) -> None:
    client = Dormouse(address, email=ada.email, password=PASSWORD)
    client.me()
    with pytest.raises(Exception, match="wrong"):
        client.workspace.erase(password="not it")
    opened = [entry for entry in audited() if entry.action == "session.open"]
    assert len(opened) <= 2
    client.close()


def test_users_on_the_command_line(run: Run, ada: Account) -> None:
    assert ada.id in run("admin", "users", "ada").stdout
    assert "laptop" not in run("admin", "user", ada.id).stdout
    assert "ada@example.org is disabled" in run("admin", "disable", "ada@example.org").stdout
    assert "ada@example.org is active" in run("admin", "enable", ada.id).stdout
    shown = json.loads(run("admin", "role", ada.id, "operator", "--json").stdout)
    assert shown["role"] == "operator"
    assert "(not_found)" in run("admin", "approve", "nobody@example.org", code=1).stderr
    refused = run("admin", "tier", ada.id, "gold", code=1)
    assert "no such tier" in refused.stderr
    run("admin", "tiers", "put", "gold", "--title", "Gold", "--budget", "5")
    run("admin", "tier", ada.id, "gold")
    assert "Gold" in run("admin", "tiers", "list").stdout
    run("admin", "unlock", ada.id)
    run("admin", "remove-second-factor", ada.id, "--yes")
    run("admin", "end-sessions", ada.id)
    assert run("admin", "erase", ada.id, stdin="n\n", code=130)
    assert f"Erased {ada.id}" in run("admin", "erase", ada.id, "--yes").stdout


def test_rights_on_the_command_line(run: Run, ada: Account) -> None:
    ada.post("/api/v1/entitlements", {"service": "draw", "reason": "I paint"})
    assert "I paint" in run("admin", "requests").stdout
    assert "Refused draw" in run("admin", "refuse", ada.email, "draw").stdout
    granted = run(
        "admin", "grant", ada.email, "draw", "--expires", "2031-01-01T00:00:00Z", "--reason", "ok"
    )
    assert "may call draw until" in granted.stdout
    assert "own" in run("admin", "access", "--user", ada.email).stdout
    (line,) = csv.DictReader(io.StringIO(run("admin", "access", "--csv").stdout))
    assert (line["email"], line["reason"]) == (ada.email, "ok")
    run("admin", "take-away", ada.email, "draw", "--reason", "over")
    assert json.loads(run("admin", "access", "--json").stdout) == {"items": []}


def test_groups_on_the_command_line(run: Run, ada: Account) -> None:
    group = json.loads(run("admin", "groups", "create", "Painters", "--json").stdout)["id"]
    run("admin", "groups", "add", group, ada.email)
    run("admin", "groups", "grant", group, "draw", "--reason", "art")
    shown = run("admin", "groups", "show", group).stdout
    assert ada.email in shown
    assert "art" in shown
    assert "Painters" in run("admin", "groups", "list").stdout
    run("admin", "groups", "take-away", group, "draw")
    run("admin", "groups", "remove", group, ada.email)
    run("admin", "groups", "rename", group, "Drawers")
    run("admin", "groups", "delete", group)
    assert json.loads(run("admin", "groups", "list", "--json").stdout) == {"items": []}


def test_what_is_mine_on_the_command_line(
    run: Run, with_role: Callable[..., Account], tmp_path: Path
) -> None:
    with_role(Role.ADMINISTRATOR, "second@example.org")
    run("entitle", "draw", "--reason", "I paint")
    assert "Waiting for: draw" in run("workspace").stdout
    file = tmp_path / "mine.zip"
    run("export", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert "README.txt" in zipfile.ZipFile(file).namelist()
    run("export", str(file), code=2)

    run("erase", "--password-stdin", stdin="y\nn\n", code=130)
    wrong = run("erase", "--yes", "--password-stdin", stdin="not it\n", code=1)
    assert "(invalid_credentials)" in wrong.stderr
    assert "is erased" in run("erase", "--yes", "--password-stdin", stdin=PASSWORD + "\n").stdout
    assert "(missing_credentials)" in run("workspace", code=1).stderr
