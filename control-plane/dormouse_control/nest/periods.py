"""How long each predictor was there: told to the control plane once, whoever dies meanwhile.

One file per predictor, from before its start until the control plane has heard of its end. Whoever
is there keeps its file's time new, so that a file says when its predictor was last seen even if
nest and predictor died together.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any  # reports are JSON

import psutil
from structlog import get_logger

log = get_logger(__name__)

Send = Callable[[Sequence[dict[str, Any]]], None]
"""Delivers reports; returns once they are durable, raises otherwise."""

_AT_ONCE = 500


@dataclass(frozen=True)
class Period:
    """Times in ms since 1970. `born` tells the process from a later one with the same pid."""

    instance: str
    service: str
    gpus: int
    woke: int
    load_ms: int = 0
    pid: int | None = None
    born: float | None = None
    ended: int | None = None


class Periods:
    """Those in `folder`. The ones that another nest left end when their process is gone."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._left = {found.instance: found for found in self._read() if found.ended is None}
        self._ours: dict[str, Period] = {}
        self._since: dict[str, float] = {}

    def began(self, instance: str, *, service: str, gpus: int) -> None:
        """To be called before the process is there."""
        self._since[instance] = time.monotonic()
        self._keep(Period(instance, service, gpus, woke=round(time.time() * 1000)))

    def runs(self, instance: str, *, pid: int, load_ms: int) -> None:
        """Under this process id; `load_ms` is 0 until it is known."""
        period = self._ours.get(instance)
        if period is not None and (period.pid, period.load_ms) != (pid, load_ms):
            self._keep(replace(period, pid=pid, born=_born(pid), load_ms=load_ms))

    def ended(self, instance: str) -> None:
        period = self._ours.pop(instance, None)
        if period is not None:
            # By the clock that nobody sets.
            lasted = round((time.monotonic() - self._since.pop(instance)) * 1000)
            self._write(replace(period, ended=period.woke + lasted))

    def seen(self) -> None:
        """Our predictors are there. As often as this is called, as exact is the end of those that
        nobody will see end, because we end with them.
        """
        for instance in list(self._ours):
            _touch(self._path(instance))

    def adopt(self) -> None:
        """Predictors of a nest that is no more: note which are there, and which have ended."""
        for instance, period in list(self._left.items()):
            if period.pid is not None and period.born == _born(period.pid):
                _touch(self._path(instance))
                continue
            del self._left[instance]
            try:
                seen = round(self._path(instance).stat().st_mtime * 1000)
            except FileNotFoundError:  # never written (a full disk), or somebody tidied up
                seen = period.woke
            self._write(replace(period, ended=max(period.woke, seen)))

    def report(self, send: Send, *, ready: Callable[[Period], bool] = lambda _: True) -> int:
        """Deliver those that have ended and are `ready`, and forget them. Returns how many."""
        over = [each for each in self._read() if each.ended is not None and ready(each)][:_AT_ONCE]
        if over:
            send([_told(each) for each in over])
        for each in over:
            self._path(each.instance).unlink(missing_ok=True)
        return len(over)

    def _keep(self, period: Period) -> None:
        self._ours[period.instance] = period
        self._write(period)

    def _write(self, period: Period) -> None:
        """Whole or not at all. A full disk must not keep anybody from waking or sleeping."""
        path = self._path(period.instance)
        unborn = path.with_suffix(".new")
        try:
            unborn.write_text(json.dumps(asdict(period)))
            unborn.rename(path)
        except OSError as error:
            log.error("period_not_noted", instance=period.instance, reason=str(error))

    def _read(self) -> list[Period]:
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(Period(**json.loads(path.read_text())))
            except FileNotFoundError:
                continue
            except (ValueError, TypeError) as error:
                log.error("period_unreadable", file=path.name, reason=str(error))
                path.rename(path.with_suffix(".bad"))
        return found

    def _path(self, instance: str) -> Path:
        return self._folder / f"{instance}.json"


def _told(period: Period) -> dict[str, Any]:
    told = ("instance", "service", "gpus", "woke", "ended", "load_ms")
    return {name: getattr(period, name) for name in told}


def _born(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError as error:
        log.warning("period_not_touched", file=path.name, reason=str(error))
