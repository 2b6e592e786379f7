"""The whole platform, as `dormouse up` starts it, with predictors of its own: real models, a real
key, everything on."""

import contextlib
import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any  # bodies and statuses are JSON

import httpx

from suite import models, offers
from suite.offers import Offer
from suite.processes import free_port, started, until
from suite.subjects import Subject

_PLENTY = str(100_000_000)


@dataclass(frozen=True)
class Reply:
    """`first_byte` is in seconds after the call began."""

    first_byte: float
    headers: Mapping[str, str]
    document: dict[str, Any]


class Whole:
    def __init__(self, home: Path, port: int, pid: int) -> None:
        self.home = home
        self.port = port
        self.pid = pid
        self.log = home / "up.log"
        self.key = ""

    def sign_up(self, email: str, services: list[str]) -> str:
        """A key of a new user, who may call these services."""
        login = {"email": email, "password": "a long enough password"}
        url = f"http://127.0.0.1:{self.port}"
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            client.post("/api/v1/registrations", json=login).raise_for_status()
            token = client.post("/api/v1/sessions", json=login).json()["access_token"]
            client.headers["authorization"] = f"Bearer {token}"
            for service in services:
                asked = client.post("/api/v1/entitlements", json={"service": service})
                asked.raise_for_status()
            made = client.post("/api/v1/keys", json={"name": "bench"}).raise_for_status()
            return str(made.json()["key"])

    @property
    def headers(self) -> dict[str, str]:
        return headers(self.key)

    def subject(self, offer: Offer) -> Subject:
        return Subject("ours", self.port, self.key, (self.pid,), model=offer.name)

    def call(self, path: str, body: Mapping[str, Any]) -> Reply:
        """A call on a connection of its own. Raises `RuntimeError` if it is refused."""
        return call(self.port, path, body, self.headers)

    def ask(self, offer: Offer) -> Reply:
        """The smallest call of a service; its answer is checked."""
        reply = self.call(offer.endpoint, offers.first_call(offer))
        if not offers.is_answer(offer, reply.document):
            raise RuntimeError(f"{offer.name}: answered {str(reply.document)[:200]}")
        return reply

    def sleep(self, *services: str) -> None:
        """Returns when no process of them is left."""
        for service in services:
            self._nest({"id": 1, "op": "sleep", "service": service})
        text = f"sleep of {', '.join(services)}"
        until(lambda: not any(self.predictors(each) for each in services), text, log=self.log)

    def predictors(self, service: str) -> list[dict[str, Any]]:
        services = self._nest({"id": 1, "op": "status"})["services"]
        found = next(each for each in services if each["id"] == service)
        return list(found["predictors"])

    def _nest(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as nest:
            nest.connect(str(self.home / "run" / "nest.sock"))
            nest.sendall(json.dumps(asked).encode() + b"\n")
            answer: dict[str, Any] = json.loads(nest.makefile("rb").readline())
            return answer

    def said(self, event: str, since: float, **fields: Any) -> tuple[float, dict[str, Any]]:
        """The first log line of that event and those fields after `since`, and when it was written;
        in seconds since 1970. Waits for it."""
        wanted = {"event": event, **fields}
        found: list[tuple[float, dict[str, Any]]] = []

        def there() -> bool:
            for line in (self.home / "logs" / "dormouse.log").read_text().splitlines():
                entry = _entry(line)
                if any(entry.get(name) != value for name, value in wanted.items()):
                    continue
                at = datetime.fromisoformat(entry["time"]).timestamp()
                if at >= since:
                    found.append((at, entry))
            return bool(found)

        until(there, f"the log line {event!r}", log=self.log)
        return found[0]


def headers(key: str) -> dict[str, str]:
    return {"content-type": "application/json", "authorization": f"Bearer {key}"}


def call(port: int, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
    """Raises `RuntimeError` if the answer is not 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    with contextlib.closing(connection):
        began = time.perf_counter()
        connection.request("POST", path, json.dumps(body), dict(headers))
        answer = connection.getresponse()
        first_byte = time.perf_counter() - began
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {said[:300]!r}")
        return Reply(first_byte, dict(answer.headers), json.loads(said))


@contextlib.contextmanager
def whole(folder: Path, offered: list[Offer]) -> Iterator[Whole]:
    """Raises `NotReady`. All its zygotes have done their imports when the block begins."""
    home, services, port = folder / "home", folder / "services", free_port()
    home.mkdir(parents=True)
    offers.write(services, offered)
    environment = {
        "DORMOUSE_HOME": str(home),
        "DORMOUSE_PORT": str(port),
        "DORMOUSE_METRICS_PORT": "0",
        "DORMOUSE_SERVICES": str(services),
        # Predictors have users of their own, who see of other folders only what is theirs to see.
        "DORMOUSE_WEIGHTS": str(models.folder()),
        "DORMOUSE_REQUESTS_PER_MINUTE": _PLENTY,
        "DORMOUSE_TOKENS_PER_MINUTE": _PLENTY,
        "DORMOUSE_CONCURRENT_CALLS": "10000",
        # The benchmark's own paths are none of the platform's.
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    command = [sys.executable, "-m", "dormouse_control", "up"]
    with started(command, log=home / "up.log", environment=environment) as process:
        found = Whole(home, port, process.pid)
        until(lambda: _ready(port), "the platform", log=found.log, seconds=120)
        for engine in {each.engine for each in offered}:
            found.said("zygote_ready", 0, engine=engine)
        found.key = found.sign_up("bench@example.org", [each.name for each in offered])
        yield found


def _ready(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        url = f"http://127.0.0.1:{port}/readyz"
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    return False


def _entry(line: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        entry = json.loads(line)
        if isinstance(entry, dict):
            return entry
    return {}
