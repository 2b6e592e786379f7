"""The runtime of one machine: asks the nest over its socket."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from dormouse.catalog import Catalog
from dormouse_control.runtimes.base import (
    NotRun,
    PredictorStatus,
    RuntimeUnavailable,
    ServiceStatus,
)

TIMEOUT_SECONDS = 1.0


class LocalRuntime:
    """`write` writes the facts that the nest reads."""

    def __init__(self, nest_socket: Path, write: Callable[[Catalog], object]) -> None:
        self._path = nest_socket
        self._write = write

    def ping(self) -> None:
        self._ask({"id": 1, "op": "ping"})

    def status(self) -> list[ServiceStatus]:
        return [_service(found) for found in self._ask({"id": 1, "op": "status"})["services"]]

    def wake(self, service: str) -> None:
        self._tell("wake", service)

    def sleep(self, service: str) -> None:
        self._tell("sleep", service)

    def adopt(self, catalog: Catalog) -> None:
        try:
            self._write(catalog)
        except OSError as error:
            raise RuntimeUnavailable(f"what the nest reads cannot be written: {error}") from error
        self._ask({"id": 1, "op": "adopt"})

    def _tell(self, op: str, service: str) -> None:
        if not self._ask({"id": 1, "op": op, "service": service})["ok"]:
            raise NotRun(service)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(TIMEOUT_SECONDS)
                connection.connect(str(self._path))
                connection.sendall(json.dumps(message).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    return _answer(lines)
        except (OSError, ValueError) as error:
            raise RuntimeUnavailable("the nest does not answer") from error


def _answer(lines: IO[bytes]) -> dict[str, Any]:
    """The first line that is one: predictors that leave are told to everybody. Raises ValueError
    if there is none.
    """
    for line in lines:
        found = json.loads(line)
        if isinstance(found, dict) and "id" in found:
            return found
    raise ValueError("the nest has hung up")


def _service(found: dict[str, Any]) -> ServiceStatus:
    found["predictors"] = tuple(PredictorStatus(**each) for each in found["predictors"])
    for name in ("models_loaded", "quarantined"):
        found[name] = tuple(found[name])
    return ServiceStatus(**found)
