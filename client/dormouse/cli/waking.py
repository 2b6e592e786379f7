"""While nothing has come yet: what the model is doing, on stderr, if somebody is watching."""

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from dormouse.errors import DormouseError
from dormouse.types import Service

if TYPE_CHECKING:
    from dormouse.client import Dormouse

ASK_SECONDS = 0.3
DRAW_SECONDS = 0.1


class Waking:
    """Asks how the service is doing until it is stopped. Never disturbs the call itself."""

    def __init__(self, client: "Dormouse", service: Service | None) -> None:
        self._client = client
        self._first = service
        self._stopped = threading.Event()
        self._started = time.monotonic()

    def __enter__(self) -> "Waking":
        if self._first is not None and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True, highlight=False).status(self._text(self._first))
            self._status.start()
            threading.Thread(target=self._watch, args=(self._first.id,), daemon=True).start()
        else:
            self._stopped.set()
        return self

    def stop(self) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            self._status.stop()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _watch(self, id: str) -> None:
        now = self._first
        asked = time.monotonic()
        while now is not None and not self._stopped.wait(DRAW_SECONDS):
            if time.monotonic() - asked >= ASK_SECONDS:
                asked = time.monotonic()
                try:
                    now = self._client.services.get(id)
                except (DormouseError, RuntimeError):
                    # The call itself will say what is wrong. RuntimeError: the client was closed.
                    return
            self._status.update(self._text(now))

    def _text(self, now: Service) -> str:
        return progress(self._first or now, now, seconds=time.monotonic() - self._started)


def progress(first: Service, now: Service, *, seconds: float) -> str:
    """One line about a call that has waited for `seconds`, for a service seen `first` as it was."""
    if now.status == "awake":
        doing = f"{now.id} is awake, answering…"
    elif now.problem:
        doing = f"{now.id} failed to wake, trying again…"
    elif first.status == "asleep":
        doing = f"{now.id} is asleep, waking…"
    else:
        doing = f"{now.id} is waking…"
    stage = f" {now.stage}" if now.stage else ""
    return f"{doing}{stage} {seconds:.1f} s"
