"""How long waking takes, learned per service and model; kept over restarts in a small file."""

import json
import math
import os
from pathlib import Path

from structlog import get_logger

log = get_logger(__name__)

SMOOTHING = 0.3
"""Weight of the newest."""


class ColdStarts:
    """Smoothed milliseconds. Without the file, or with one that nobody can read, it starts anew."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = _read(file)

    def wake_ms(self, service: str, model: str) -> float | None:
        """From the fork until the predictor is ready; None while nobody knows."""
        return self._known.get(f"{service}/{model}", {}).get("wake_ms")

    def load_ms(self, service: str, model: str) -> float | None:
        """What of it the predictor itself takes."""
        return self._known.get(f"{service}/{model}", {}).get("load_ms")

    def learn(self, service: str, model: str, *, wake_ms: float, load_ms: float) -> None:
        before = self._known.get(f"{service}/{model}", {})
        self._known[f"{service}/{model}"] = {
            "wake_ms": _smoothed(before.get("wake_ms"), wake_ms),
            "load_ms": _smoothed(before.get("load_ms"), load_ms),
        }
        self._write()

    def _write(self) -> None:
        """Whole or not at all. A full disk must not keep anybody from waking."""
        unborn = self._file.with_suffix(".new")
        try:
            unborn.write_text(json.dumps(self._known, indent=1, sort_keys=True))
            os.replace(unborn, self._file)
        except OSError as error:
            log.warning("cold_starts_not_kept", reason=str(error))


def _smoothed(before: float | None, now: float) -> float:
    return round(now if before is None else before + SMOOTHING * (now - before), 1)


def _read(file: Path) -> dict[str, dict[str, float]]:
    try:
        found = json.loads(file.read_text("utf-8"))
        return {
            str(key): {name: _number(value) for name, value in each.items()}
            for key, each in found.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        log.warning("cold_starts_unreadable", file=file.name, reason=str(error))
        return {}


def _number(value: object) -> float:
    """Raises ValueError for what is no number of milliseconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} are no milliseconds")
    return float(value)
