"""A whole control plane on a database of its own, with a runtime and a clock that tests set."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from dormouse.events import UsageEvent, to_cloudevent
from dormouse_control.app import internal_app, public_app
from dormouse_control.db import connect
from dormouse_control.migrations.run import upgrade
from dormouse_control.runtimes.base import RuntimeUnavailable, ServiceStatus
from dormouse_control.settings import Settings
from dormouse_control.wiring import Platform, build

PASSWORD = "correct horse battery"

CHAT_YAML = """
title: Chat
category: text
engine: llama
endpoints: [chat.completions, completions]
prices: {per_1000_prompt_tokens: 0.0002, per_1000_completion_tokens: 0.0006}
default_model: {starter: small}
aliases: [gpt-4o-mini]
"""
DRAW_YAML = """
title: Draw
category: images
engine: llama
endpoints: [completions]
access: approval
default_model: {standard: painter}
aliases: [dall-e-3]
"""
MODEL_INI = """[model]
title = {title}
profiles = {profiles}
source = builtin:weights
size_mb = 1
layers = 1
context = 128
parameters = 1000
license = Apache-2.0
"""


@dataclass
class FakeClock:
    time: datetime = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, **amount: float) -> None:
        self.time += timedelta(**amount)


@dataclass
class FakeRuntime:
    """Says what the test put in; None stands for a nest that does not answer."""

    services: list[ServiceStatus] | None = field(default_factory=list)

    def ping(self) -> None:
        self.status()

    def status(self) -> list[ServiceStatus]:
        if self.services is None:
            raise RuntimeUnavailable("the nest does not answer")
        return self.services


@dataclass
class Account:
    """A user with an open session. `get` and so on call the API as this user."""

    client: TestClient
    id: str
    email: str
    access_token: str
    refresh_token: str

    def call(self, method: str, path: str, **more: Any) -> Any:
        headers = {"authorization": f"Bearer {self.access_token}"}
        return self.client.request(method, path, headers=headers, **more)

    def get(self, path: str, **more: Any) -> Any:
        return self.call("GET", path, **more)

    def post(self, path: str, json: Any) -> Any:
        return self.call("POST", path, json=json)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)

    def key(self, name: str = "a key") -> dict[str, Any]:
        answer = self.post("/api/v1/keys", {"name": name})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="session")
def services_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue") / "services"
    for service, yaml, models in (
        ("chat", CHAT_YAML, {"small": "starter", "large": "standard"}),
        ("draw", DRAW_YAML, {"painter": "standard"}),
    ):
        for model, profiles in models.items():
            (folder / service / model).mkdir(parents=True)
            ini = MODEL_INI.format(title=model.title(), profiles=profiles)
            (folder / service / model / f"{model}.ini").write_text(ini)
        (folder / service / "service.yaml").write_text(yaml)
    return folder


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database at head, to be copied: migrating takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "dormouse.db"
    engine = connect(f"sqlite:///{file}").engine
    upgrade(engine)
    engine.dispose()
    return file


@pytest.fixture
def settings(tmp_path: Path, services_folder: Path) -> Settings:
    return Settings(home=tmp_path / "home", services=services_folder)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def platform(
    settings: Settings, migrated_file: Path, runtime: FakeRuntime, clock: FakeClock
) -> Iterator[Platform]:
    settings.home.mkdir(parents=True)
    shutil.copy(migrated_file, settings.home / "dormouse.db")
    built = build(settings, runtime=runtime, clock=clock)
    yield built
    built.database.engine.dispose()


@pytest.fixture
def client(platform: Platform) -> TestClient:
    return TestClient(public_app(platform))


@pytest.fixture
def internal(platform: Platform) -> TestClient:
    return TestClient(internal_app(platform))


@pytest.fixture
def sign_up(client: TestClient) -> Callable[..., Account]:
    def make(email: str = "ada@example.org", password: str = PASSWORD) -> Account:
        return new_account(client, email, password)

    return make


@pytest.fixture
def ada(sign_up: Callable[..., Account]) -> Account:
    return sign_up()


@pytest.fixture
def at_once() -> Callable[[int, Callable[[], Any]], list[Any]]:
    """Calls a function in so many threads that start together; the results."""

    def run(threads: int, call: Callable[[], Any]) -> list[Any]:
        barrier = threading.Barrier(threads)

        def one(_: int) -> Any:
            barrier.wait()
            return call()

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, range(threads)))

    return run


@pytest.fixture
def usage_event() -> Callable[..., dict[str, Any]]:
    def make(user: str, request_id: str = "req-1", **changes: Any) -> dict[str, Any]:
        event = UsageEvent(
            request_id=request_id,
            time="2030-01-01T00:00:00.5Z",
            user=user,
            credential="ses_x",
            service="chat",
            model="small",
            endpoint="chat.completions",
            outcome="completed",
            prompt_tokens=10,
            completion_tokens=5,
            duration_ms=20,
        )
        return to_cloudevent(UsageEvent(**(event.__dict__ | changes)))

    return make


def new_account(client: TestClient, email: str, password: str = PASSWORD) -> Account:
    credentials = {"email": email, "password": password}
    registered = client.post("/api/v1/registrations", json=credentials)
    assert registered.status_code == 201, registered.text
    signed_in = client.post("/api/v1/sessions", json=credentials)
    assert signed_in.status_code == 201, signed_in.text
    tokens = signed_in.json()
    return Account(
        client=client,
        id=registered.json()["id"],
        email=registered.json()["email"],
        access_token=tokens["access_token"],
        refresh_token=tokens["refresh_token"],
    )


# ---- the same rules on both databases ------------------------------------------------------------


@dataclass
class Installation:
    """A control plane whose database is the parameter of the test."""

    platform: Platform
    client: TestClient
    internal: TestClient

    def sign_up(self, email: str = "ada@example.org") -> Account:
        return new_account(self.client, email)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    new: str = request.getfixturevalue("new_postgres_database")
    return new


@pytest.fixture
def installation(
    database_url: str,
    settings: Settings,
    runtime: FakeRuntime,
    clock: FakeClock,
) -> Iterator[Installation]:
    here = settings.model_copy(update={"database_url": database_url})
    built = build(here, runtime=runtime, clock=clock)
    upgrade(built.database.engine)
    yield Installation(
        platform=built,
        client=TestClient(public_app(built)),
        internal=TestClient(internal_app(built)),
    )
    built.database.engine.dispose()


@pytest.fixture
def new_postgres_database(postgres_server: str) -> str:
    name = f"dormouse_{uuid.uuid4().hex}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgres_server}/{name}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A throw-away cluster from the binaries that Debian's package brings; nothing is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        _missing("postgres", "no PostgreSQL in /usr/lib/postgresql")
    binaries = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="dormouse-pg-"))
    # PostgreSQL refuses to run as root. It ends with us, even if we are killed.
    become = ["setpriv", "--pdeathsig", "QUIT"]
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        become += ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    port = _free_port()
    url = f"postgresql://dormouse@127.0.0.1:{port}"
    data = str(folder / "data")
    made = [str(binaries / "initdb"), "-D", data, "-U", "dormouse", "-A", "trust", "-N"]
    options = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
    served = [str(binaries / "postgres"), "-D", data, "-p", str(port)]
    served += [part for option in options for part in ("-c", option)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    try:
        subprocess.run([*become, *made], check=True, **quiet)
        server = subprocess.Popen([*become, *served], **quiet)
        try:
            _wait_for(url)
            yield url
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(f"{url}/postgres").close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _missing(what: str, reason: str) -> None:
    if what in os.environ.get("REQUIRE", "").split(","):
        pytest.fail(f"REQUIRE names {what}, but there is {reason}")
    pytest.skip(reason)
