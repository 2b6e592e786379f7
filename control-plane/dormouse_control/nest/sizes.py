"""What models really took when they were loaded: kept in one file, told to whoever sees an .ini
that is wrong.

A model counts as large as the largest of its last loads. An .ini that is corrected makes what was
learned about it before worthless, for its weights may be others now.
"""

import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from structlog import get_logger

from dormouse_control import private_files

log = get_logger(__name__)

TOLERANCE = 1.25
"""An .ini may state so much too little before somebody is told, or …"""

TOLERANCE_MB = 64.0
"""… so many MiB, if that is more: what a tiny model's process takes for itself is no mistake."""

LOADS = 5
"""How many loads are remembered."""

Key = tuple[str, str, str]
"""Service, model, profile."""


@dataclass(frozen=True)
class Learned:
    """`loads` in MiB, `seconds` each load took; oldest first. `stated_mb` is what the .ini said."""

    stated_mb: float
    loads: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()


class Sizes:
    """Those in the file at `path`; a damaged one is put aside. From any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._warned: set[tuple[Key, float]] = set()
        self._known = _read(path)

    def model_mb(self, key: Key, *, stated_mb: float) -> float:
        """The stated size, or the learned one if that is larger."""
        known = self._known.get(key)
        if known is None or known.stated_mb != stated_mb:
            return stated_mb
        return max(stated_mb, *known.loads)

    def load_seconds(self, key: Key) -> float | None:
        """How long the fastest of the last loads took (others may have had to download); None
        before the first."""
        known = self._known.get(key)
        return min(known.seconds) if known is not None else None

    def learn(
        self, key: Key, *, model_mb: float, stated_mb: float, seconds: float, ini: str
    ) -> None:
        """What one load took. Blocks for the disk; a full one costs the memory of a restart."""
        with self._lock:
            before = self._known.get(key)
            if before is None or before.stated_mb != stated_mb:
                before = Learned(stated_mb)
            loads = (*before.loads, round(model_mb, 1))[-LOADS:]
            times = (*before.seconds, round(seconds, 3))[-LOADS:]
            self._known = {**self._known, key: Learned(stated_mb, loads, times)}
            self._write()
            self._warn(key, model_mb, stated_mb, ini)

    def _warn(self, key: Key, model_mb: float, stated_mb: float, ini: str) -> None:
        most = max(stated_mb * TOLERANCE, stated_mb + TOLERANCE_MB)
        if model_mb <= most or (key, stated_mb) in self._warned:
            return
        self._warned.add((key, stated_mb))
        log.warning(
            "ini_states_too_little",
            file=ini,
            service=key[0],
            model=key[1],
            stated_mb=round(stated_mb, 1),
            measured_mb=round(model_mb, 1),
            advice="size_mb is of the weights alone; kv_mb_per_1000_tokens of the context",
        )

    def _write(self) -> None:
        rows = [
            {"service": key[0], "model": key[1], "profile": key[2], **asdict(known)}
            for key, known in sorted(self._known.items())
        ]
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_files.write(self._path, json.dumps(rows, indent=1).encode())
        except OSError as error:
            log.error("sizes_not_kept", file=str(self._path), reason=str(error))


def _read(path: Path) -> dict[Key, Learned]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        return _given_up(path, error)
    try:
        return {
            (str(row["service"]), str(row["model"]), str(row["profile"])): Learned(
                float(row["stated_mb"]), _numbers(row["loads"]), _numbers(row["seconds"])
            )
            for row in json.loads(text)
        }
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        return _given_up(path, error)


def _numbers(values: list[float]) -> tuple[float, ...]:
    found = tuple(float(value) for value in values)
    if not found or not all(0 <= value < float("inf") for value in found):
        raise ValueError("no sizes")
    return found[-LOADS:]


def _given_up(path: Path, error: Exception) -> dict[Key, Learned]:
    """Loading teaches it all again; the damaged file stays for whoever wants to know."""
    log.error("sizes_unreadable", file=str(path), reason=repr(error))
    try:
        path.rename(path.with_suffix(".bad"))
    except OSError as failure:
        log.error("sizes_not_put_aside", file=str(path), reason=str(failure))
    return {}
