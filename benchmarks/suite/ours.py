"""Ours: gateway, authorizers and control plane as `dormouse up` starts them, before the mock.

Every feature is on: a key among 10,000 with limits of its own and a budget, its user's limits, the
prices of the service, the meters that the mock sends back. Only the nest is not ours: it says that
the mock is awake.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # bodies are JSON

import httpx

from suite import catalogue
from suite.processes import free_port, started, until
from suite.subjects import Subject

PLENTY = 100_000_000
"""Of what is counted a minute: enough never to be refused."""

LIMITS = {
    "requests_per_minute": 1_000_000,
    "tokens_per_minute": PLENTY,
    "concurrent_calls": 10_000,
    "budget": {"amount": 1_000_000, "period": "month"},
}
"""Of the key: every kind that there is."""


@dataclass(frozen=True)
class Ours:
    subject: Subject
    home: Path
    authorizers: tuple[Path, ...]
    client: httpx.Client
    """Signed in as the user whose key is used."""

    def make_key(self, **limits: Any) -> str:
        answer = self.client.post("/api/v1/keys", json={"name": "bench", **limits})
        if answer.status_code != 201:
            raise RuntimeError(f"no key: {answer.status_code} {answer.text}")
        return str(answer.json()["key"])


@contextlib.contextmanager
def ours(
    folder: Path, predictor: int, *, models: int = catalogue.MODELS, authorizers: int = 1
) -> Iterator[Ours]:
    """Raises `NotReady`. The mock's run folder must be `folder`/home/run."""
    home, port, log = folder / "home", free_port(), folder / "ours.log"
    run = home / "run"
    run.mkdir(parents=True, exist_ok=True)
    catalogue.write(folder / "services", models)
    environment = {
        "DORMOUSE_HOME": str(home),
        "DORMOUSE_PORT": str(port),
        "DORMOUSE_PROCESS_METRICS_PORT": "0",
        "DORMOUSE_SERVICES": str(folder / "services"),
        "DORMOUSE_REQUESTS_PER_MINUTE": str(PLENTY),
        "DORMOUSE_TOKENS_PER_MINUTE": str(PLENTY),
        "DORMOUSE_CONCURRENT_CALLS": str(LIMITS["concurrent_calls"]),
    }
    python = [sys.executable, "-m", "dormouse_control"]
    sockets = tuple(run / f"authorizer{number or ''}.sock" for number in range(authorizers))
    with contextlib.ExitStack() as stack:

        def spawn(*command: str) -> int:
            entered = started(command, log=log, environment=environment)
            return stack.enter_context(entered).pid

        spawn(sys.executable, "-m", "suite.nest", str(run / "nest.sock"), f"127.0.0.1:{predictor}")
        pids = [spawn(*python, "control-plane")]
        until((run / "internal.sock").exists, "the control plane", log=log)
        for number, listen in enumerate(sockets):
            pids.append(spawn(*python, *_authorizer(run, listen, with_gateway=number == 0)))
        pids.append(spawn(*python, "gateway"))
        client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        )
        until(lambda: _healthy(client), "the gateway", log=log)
        catalogue.populate(home / "dormouse.db")
        _sign_in(client)
        found = Ours(Subject("ours", port, "", tuple(pids)), home, sockets, client)
        key = found.make_key(**LIMITS)
        subject = Subject("ours", port, key, tuple(pids), path=tuple(pids[1:]))
        until(subject.answers, "ours", log=log)
        yield Ours(subject, home, sockets, client)


def _authorizer(run: Path, listen: Path, *, with_gateway: bool) -> list[str]:
    arguments = ["authorizer", "--listen", str(listen), "--log-level", "warning"]
    arguments += ["--control-plane", str(run / "internal.sock"), "--nest", str(run / "nest.sock")]
    arguments += ["--keys", str(run.parent / "keys"), "--meters", f"{listen}.meters"]
    arguments += ["--name", listen.stem]
    return [*arguments, "--decisions", str(run / "decisions")] if with_gateway else arguments


def _healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def _sign_in(client: httpx.Client) -> None:
    login = {"email": f"bench{os.getpid()}@example.org", "password": "a long enough password"}
    client.post("/api/v1/registrations", json=login).raise_for_status()
    token = client.post("/api/v1/sessions", json=login).json()["access_token"]
    client.headers["authorization"] = f"Bearer {token}"
    asked = client.post("/api/v1/entitlements", json={"service": catalogue.SERVICE})
    asked.raise_for_status()
