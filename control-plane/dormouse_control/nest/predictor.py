"""One predictor process as the nest sees it: what it reports on its control socket.

The end of that socket is the end of the process, however it died; closing ours tells it to drain.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any, Literal

from structlog import get_logger

from dormouse_control.nest import lines

log = get_logger(__name__)

State = Literal["starting", "ready", "draining", "gone"]


class Predictor:
    """State of one predictor; `changed` is called after every change of it.

    `instance` is a name that no other predictor ever has.
    """

    def __init__(self, service: str, model: str, changed: Callable[["Predictor"], None]) -> None:
        self.service = service
        self.model = model
        self.instance = uuid.uuid4().hex
        self.load_ms = 0
        self.state: State = "starting"
        self.stage = "starting"
        self.failure: str | None = None
        self.pid: int | None = None
        self.port: int | None = None
        self.metrics_port: int | None = None
        self.in_flight = 0
        self.last_active = time.monotonic()
        self._silent_checks: int | None = None
        self._changed = changed
        self._writer: asyncio.StreamWriter | None = None
        self.gone = asyncio.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def touch(self) -> None:
        """A call is on its way: not idle, even if the predictor has not seen it yet."""
        self.last_active = time.monotonic()

    def is_hung(self, *, checks: int) -> bool:
        """To be asked regularly: whether it said nothing between so many such questions.

        Questions are counted and not seconds, for while we were stopped ourselves nothing is heard.
        A predictor that never said that it lives is none of those that do.
        """
        if self._silent_checks is None or self.state not in ("ready", "draining"):
            return False
        self._silent_checks += 1
        return self._silent_checks > checks

    def swapping(self) -> str | None:
        """What it does for a call to another of its models, if anything."""
        return self.stage if self.stage.startswith(("downloading", "loading")) else None

    def idle_seconds(self) -> float:
        return 0.0 if self.in_flight else time.monotonic() - self.last_active

    async def follow(self, control: socket.socket) -> None:
        """Read reports until the process is gone."""
        reader, self._writer = await asyncio.open_unix_connection(sock=control)
        try:
            while (message := await lines.read(reader)) is not None:
                self._report(message)
        except lines.BadLine as error:
            log.error("predictor_talks_nonsense", service=self.service, reason=str(error))
        finally:
            self._writer.close()
            self.state = "gone"
            self.gone.set()
            self._changed(self)

    def drain(self, grace_ms: int) -> None:
        if self._writer is not None and self.state in ("starting", "ready"):
            self.state = "draining"
            self._writer.write(lines.encode({"op": "drain", "grace_ms": grace_ms}))

    def kill(self) -> None:
        if self.pid is not None and self.state != "gone":
            with contextlib.suppress(ProcessLookupError):  # gone, only not heard of yet
                os.kill(self.pid, signal.SIGKILL)
        if self._writer is not None:
            self._writer.close()

    def _report(self, message: dict[str, Any]) -> None:
        if self._silent_checks is not None:
            self._silent_checks = 0
        match message.get("event"):
            case "alive":
                self._silent_checks = 0
                return
            case "stage":
                percent = message.get("percent")
                self.stage = str(message["stage"]) + ("" if percent is None else f" {percent}%")
                self.pid = message.get("pid", self.pid)
            case "listening":
                self.pid = int(message["pid"])
                self.port = int(message["port"])
                self.metrics_port = int(message["metrics_port"])
            case "ready":
                self.pid = int(message["pid"])
                self.port = int(message["port"])
                self.metrics_port = int(message["metrics_port"])
                self.load_ms = int(message["load_ms"])
                self.model = str(message["model"])
                if self.state == "starting":
                    self.state = "ready"
                self.stage = "ready"
                self.touch()
            case "load":
                self.in_flight = int(message["in_flight"])
                self.touch()
            case "model":
                self.model = str(message["model"])
                self.stage = "ready"
            case "failed":
                self.failure = str(message.get("message") or message.get("code"))
            case "draining":
                self.state = "draining"
            case other:
                log.warning("unknown_report", service=self.service, report=str(other)[:50])
        self._changed(self)
