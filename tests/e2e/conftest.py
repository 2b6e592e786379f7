"""Fixtures: `platform` is the whole platform as `dormouse up` starts it, in a home of its own.

`start_platform` starts further ones with other settings; `account` is a user of `platform`
with entitlements and a key. Nothing is stood in for: Envoy, llama.cpp, torch and SQLite are real.
"""

import contextlib
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

PASSWORD = "a long enough password"
ADMINISTRATOR = "administrator@example.org"
_numbers = itertools.count(1)


@dataclass
class Account:
    email: str
    access_token: str
    refresh_token: str
    key: str
    key_id: str


class Platform:
    def __init__(self, home: Path, *, folder: Path | None = None, **settings: Any) -> None:
        """`folder`: that it is started in; None: ours."""
        self.home = home
        # As an editor leaves it. Other settings come through the environment.
        (home / "dormouse.yaml").write_text("log_level: info\n")
        (home / "dormouse.yaml").chmod(0o644)
        self._folder = folder
        self.port = _free_port()
        self.url = f"{'https' if 'tls' in settings else 'http'}://127.0.0.1:{self.port}"
        self._environment = {
            **os.environ,
            "DORMOUSE_HOME": str(home),
            "DORMOUSE_PORT": str(self.port),
            "DORMOUSE_METRICS_PORT": "0",
            **{f"DORMOUSE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.home / "up.log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dormouse_control", "up"],  # as `dormouse up` does
                cwd=self._folder,
                env=self._environment,
                stdout=output,
                stderr=output,
            )
        self.process = process
        self.until(lambda: self.get("/readyz").status_code == 200, 60)
        return process

    def restart(self) -> None:
        self.stop()
        self._start()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def get(self, path: str, token: str | None = None, **options: Any) -> httpx.Response:
        return self.call("GET", path, token, **options)

    def post(self, path: str, token: str | None = None, **options: Any) -> httpx.Response:
        return self.call("POST", path, token, **options)

    def call(
        self, method: str, path: str, token: str | None = None, **options: Any
    ) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if token:
            headers["authorization"] = f"Bearer {token}"
        options.setdefault("timeout", 60)
        return httpx.request(
            method, self.url + path, headers=headers, verify=self.trust(), **options
        )

    def trust(self) -> ssl.SSLContext | bool:
        """The certificate that the platform made for itself, once it is there."""
        own = self.home / "tls" / "tls.crt"
        return ssl.create_default_context(cafile=own) if own.exists() else True

    def sign_up(self, *services: str) -> Account:
        email = f"user-{next(_numbers)}@example.org"
        login = {"email": email, "password": PASSWORD}
        assert self.post("/api/v1/registrations", json=login).status_code == 201
        tokens = self.post("/api/v1/sessions", json=login).json()
        access = tokens["access_token"]
        for service in services:
            answer = self.post("/api/v1/entitlements", access, json={"service": service})
            assert answer.status_code == 201
        key = self.post("/api/v1/keys", access, json={"name": "test"}).json()
        return Account(email, access, tokens["refresh_token"], key["key"], key["id"])

    def first_administrator(self) -> str:
        """An access token, got as the owner of the machine gets the first one."""
        login = {"email": ADMINISTRATOR, "password": PASSWORD}
        token = (self.home / "first-administrator").read_text().strip()
        made = self.post("/api/v1/administrators", json={"token": token, **login})
        assert made.status_code == 201, made.text
        return self.sign_in(login["email"])

    def sign_in(self, email: str) -> str:
        """An access token; it lasts ten minutes."""
        login = {"email": email, "password": PASSWORD}
        return str(self.post("/api/v1/sessions", json=login).json()["access_token"])

    def chat(
        self, token: str, text: str = "What is Dormouse?", *, timeout: float = 60, **fields: Any
    ) -> httpx.Response:
        body = {
            "model": "dormouse-chat",
            "messages": [{"role": "user", "content": text}],
            "temperature": 0,
            **fields,
        }
        return self.post("/v1/chat/completions", token, json=body, timeout=timeout)

    def status(self, token: str, service: str) -> dict[str, Any]:
        services = self.get("/api/v1/status", token).json()["services"]
        [found] = [each for each in services if each["id"] == service]
        return dict(found)

    def predictors(self, token: str, service: str) -> list[dict[str, Any]]:
        return list(self.status(token, service)["predictors"])

    def usage(self, token: str, request_id: str, seconds: float = 10) -> dict[str, Any]:
        """The one ledger row of a call."""
        found: list[dict[str, Any]] = []

        def arrived() -> bool:
            items = self.get("/api/v1/usage?limit=200", token).json()["items"]
            found[:] = [item for item in items if item["request_id"] == request_id]
            return bool(found)

        self.until(arrived, seconds)
        [row] = found
        return row

    def pids(self, token: str) -> dict[str, int]:
        """Process name -> pid, of the supervisor's children, the zygotes and the predictors."""
        document = json.loads((self.home / "run" / "processes.json").read_text())
        found = {each["name"]: each["pid"] for each in document["processes"] if each["pid"]}
        if "nest" in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(found["nest"]).children():
                    found[f"zygote-{child.pid}"] = child.pid
        # A predictor may have outlived its zygote, so it is nobody's child that we know.
        for service in self.get("/api/v1/status", token).json()["services"]:
            for predictor in service["predictors"]:
                if predictor["pid"]:
                    found[f"predictor-{predictor['pid']}"] = predictor["pid"]
        return found

    def log(self) -> str:
        return (self.home / "logs" / "dormouse.log").read_text()

    def until(self, condition: Callable[[], Any], seconds: float = 10) -> float:
        """Seconds it took; a refused connection counts as not yet."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
                if condition():
                    return time.monotonic() - began
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds} s; log: {self.log()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def start_platform(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Platform]]:
    """They run until the module's tests have ended."""
    running: list[Platform] = []

    def start(**settings: Any) -> Platform:
        running.append(Platform(tmp_path_factory.mktemp("home"), **settings))
        return running[-1]

    yield start
    for platform in running:
        platform.stop()


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    found = Platform(tmp_path_factory.mktemp("home"), requests_per_minute=100_000)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def account(platform: Platform) -> Account:
    """Of each module its own: access tokens last ten minutes."""
    return platform.sign_up("chat", "embeddings")


@pytest.fixture(scope="session")
def first_administrator(platform: Platform) -> str:
    platform.first_administrator()
    return ADMINISTRATOR


@pytest.fixture(scope="module")
def administrator(platform: Platform, first_administrator: str) -> str:
    """An administrator's access token."""
    return platform.sign_in(first_administrator)
