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
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from structlog import get_logger

from dormouse_control.nest import lines

log = get_logger(__name__)

State = Literal["starting", "ready", "draining", "gone"]

HANDED_SECONDS = 0.25
"""So long a call is taken for on its way to a predictor that has not reported it."""
SEEN_SECONDS = 0.05
"""What is on its way for longer is in the predictor's next report."""
LOADING_FACTOR = 4
"""One that loads for the first time may be silent for so many times longer: a machine that reads
weights is busy, and nobody's answer breaks off if it is ended late."""


class Predictor:
    """State of one predictor; `changed` is called after every change of it.

    `instance` is a name that no other predictor ever has. `in_flight` are all its calls, also those
    that wait there; `slots` is how many it works on at once. `dismissed`: its end was asked for.
    `measures`: a model was loaded, and nobody has looked yet what that took. `emptied`: another
    could not be loaded after the first was given up, and nobody has freed its place yet; `model` is
    empty until one is. `place` answers it when it wants to load another model.
    """

    def __init__(
        self,
        service: str,
        model: str,
        changed: Callable[["Predictor"], None],
        place: Callable[["Predictor", dict[str, Any]], Awaitable[dict[str, Any]]],
    ) -> None:
        self.service = service
        self.model = model
        self.instance = uuid.uuid4().hex
        self.load_ms = 0
        self.wake_ms = 0
        self.slots = 1
        self.state: State = "starting"
        self.serves = False  # somebody may send calls to its address
        self.dismissed = False
        self.downloaded = False
        self.measures = False
        self.emptied = False
        self.loading: str | None = model
        self.stage = "starting"
        self.failure: str | None = None
        self.pid: int | None = None
        self.port: int | None = None
        self.metrics_port: int | None = None
        self.in_flight = 0
        self.waiting = 0
        self.forked_at: float | None = None
        self.ready_at: float | None = None
        self.last_active = time.monotonic()
        self._handed: deque[float] = deque()
        self._silent_checks: int | None = None
        self._unheard_checks = 0
        self._heard = False
        self._changed = changed
        self._place = place
        self._placing: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter | None = None
        self.gone = asyncio.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def listens(self) -> bool:
        """Calls that want to wait for its model there may be sent to it."""
        return self.state == "starting" and self.port is not None

    def hand(self, now: float) -> None:
        """A call is on its way: not idle, even if the predictor has not seen it yet."""
        self._handed.append(now)
        self.last_active = now

    def load(self, now: float) -> int:
        """Calls that it has, and those that are on their way to it."""
        self._forget_handed(now - HANDED_SECONDS)
        return self.in_flight + len(self._handed)

    def _forget_handed(self, before: float) -> None:
        while self._handed and self._handed[0] <= before:
            self._handed.popleft()

    def is_hung(self, *, checks: int) -> bool:
        """To be asked regularly: whether it said nothing between so many such questions.

        Questions are counted and not seconds, for while we were stopped ourselves nothing is heard.
        A predictor that never said that it lives is none of those that do.
        """
        if self._silent_checks is None or self.state == "gone":
            return False
        self._silent_checks += 1
        return self._silent_checks > checks * (LOADING_FACTOR if self.state == "starting" else 1)

    def is_unheard(self, *, checks: int) -> bool:
        """The same of one that was asked for and never said a word: perhaps nobody forked it."""
        if self._heard or self.forked_at is None:
            return False
        self._unheard_checks += 1
        return self._unheard_checks > checks

    def swapping(self) -> str | None:
        """What it does for a call to another of its models, if anything."""
        return self.stage if self.stage.startswith(("downloading", "loading")) else None

    def idle_seconds(self) -> float:
        return 0.0 if self.in_flight else time.monotonic() - self.last_active

    async def follow(self, control: socket.socket) -> None:
        """Read reports until the process is gone."""
        reader, self._writer = await asyncio.open_unix_connection(sock=control)
        if self.dismissed:  # before it was there
            self.drain(0)
            self._changed(self)
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

    def never_began(self) -> None:
        """Its end was asked for before there was a process."""
        self.state = "gone"
        self.gone.set()
        self._changed(self)

    def drain(self, grace_ms: int) -> None:
        """Also of one that is not forked yet: it will be the first that it hears."""
        if self.state not in ("starting", "ready"):
            return
        self.dismissed = True
        if self._writer is not None:
            self.state = "draining"
            self._writer.write(lines.encode({"op": "drain", "grace_ms": grace_ms}))

    def kill(self) -> None:
        if self.pid is not None and self.state != "gone":
            with contextlib.suppress(ProcessLookupError):  # gone, only not heard of yet
                os.kill(self.pid, signal.SIGKILL)
        if self._writer is not None:
            self._writer.close()

    def _report(self, message: dict[str, Any]) -> None:
        self._heard = True
        if self._silent_checks is not None:
            self._silent_checks = 0
        match message.get("event"):
            case "alive":
                self._silent_checks = 0
                return
            case "stage":
                self._staged(message)
            case "listening":
                self.pid = int(message["pid"])
                self.port = int(message["port"])
                self.metrics_port = int(message["metrics_port"])
            case "ready":
                self._got_ready(message)
            case "load":
                self.in_flight = int(message["in_flight"])
                self.waiting = int(message.get("waiting", 0))
                self.last_active = time.monotonic()
                self._forget_handed(self.last_active - SEEN_SECONDS)
            case "model":
                self.model = str(message["model"])
                self.load_ms = int(message.get("load_ms", self.load_ms))
                self.loading = None
                self.stage = "ready"
                self.measures = True
            case "place":
                task = asyncio.create_task(self._answer(message))
                self._placing.add(task)
                task.add_done_callback(self._placing.discard)
                return
            case "failed":
                self.failure = str(message.get("message") or message.get("code"))
            case "draining":
                self.state = "draining"
                self.dismissed = True
            case other:
                log.warning("unknown_report", service=self.service, report=str(other)[:50])
        self._changed(self)

    async def _answer(self, message: dict[str, Any]) -> None:
        """It wants to know where another of its models may be loaded."""
        try:
            answer = await self._place(self, message)
        except ValueError as error:
            log.warning("unknown_report", service=self.service, report=str(error)[:100])
            return
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(lines.encode(answer))

    def _staged(self, message: dict[str, Any]) -> None:
        stage, percent = str(message["stage"]), message.get("percent")
        self.stage = stage + ("" if percent is None else f" {percent}%")
        self.pid = message.get("pid", self.pid)
        if stage == "loading":
            self.loading = message.get("model", self.loading)
        elif stage == "ready" and self.ready_at is not None and self.loading is not None:
            self.loading, self.model, self.emptied = None, "", True  # it could not be loaded
        self.downloaded |= stage == "downloading"

    def _got_ready(self, message: dict[str, Any]) -> None:
        self.pid = int(message["pid"])
        self.port = int(message["port"])
        self.metrics_port = int(message["metrics_port"])
        self.load_ms = int(message["load_ms"])
        self.model = str(message["model"])
        self.slots = max(1, int(message.get("slots", 1)))
        self.loading = None
        self.measures = True
        self.stage = "ready"
        self.last_active = time.monotonic()
        if self.state == "starting":
            self.state = "ready"
            self.serves = True
            self.ready_at = self.last_active
            if self.forked_at is not None:
                self.wake_ms = round((self.ready_at - self.forked_at) * 1000)
