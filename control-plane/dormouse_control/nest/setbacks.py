"""What went wrong with waking, and what follows: pauses between attempts, models left alone. Pure.

Pauses double from attempt to attempt, up to a bound, and end with a success. Three failures of one
model in a row block it: calls for it are refused by name, those for other models go on. A model
whose predictors *said* why they failed is tried again after seconds, for somebody may have put the
file there; one whose predictors died over it without a word is quarantined for longer each time.
"""

from dataclasses import dataclass

ATTEMPTS = 3
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
FAILED_SECONDS = 5.0
QUARANTINE_SECONDS = 60.0
LONGEST_QUARANTINE = 900.0
STEADY_SECONDS = 5.0
"""A predictor that was ready for so long is a success; one that dies sooner is a failure more."""


@dataclass(frozen=True)
class Block:
    """`code` and `message` are for the callers; `until` is by the clock that is handed in."""

    code: str
    message: str
    until: float


@dataclass
class _Record:
    failures: int = 0
    deaths: int = 0
    block: Block | None = None


class Setbacks:
    """Of one service. `None` for a model: it was not the model's fault, but everybody's trouble."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._records: dict[str | None, _Record] = {}
        self._failed_wakes = 0
        self._young_deaths = 0
        self._next_start = 0.0

    def failed(self, model: str | None, reason: str, *, died: bool, now: float) -> None:
        """A wake, or the loading of a model; `died`: the predictor ended without saying why."""
        self._failed_wakes += 1
        self._pause(self._failed_wakes, now)
        record = self._records.setdefault(model, _Record())
        record.failures += 1
        record.deaths = record.deaths + 1 if died else 0
        if record.deaths >= ATTEMPTS:
            record.block = self._quarantine(model, record.deaths, now)
        elif record.failures >= ATTEMPTS:
            text = f"{self._service} could not be woken: {reason}"
            record.block = Block(code="waking_failed", message=text, until=now + FAILED_SECONDS)

    def died_awake(self, lasted: float, *, now: float) -> None:
        """A predictor that was ready for `lasted` seconds ended, and nobody had asked it to."""
        self._young_deaths = self._young_deaths + 1 if lasted < STEADY_SECONDS else 0
        if self._young_deaths:
            self._pause(self._young_deaths, now)

    def woke(self, model: str) -> None:
        """A predictor is ready with this model."""
        self._failed_wakes = 0
        self._records.pop(model, None)
        self._records.pop(None, None)

    def forgive(self) -> None:
        """An operator wants it tried now."""
        self._records.clear()
        self._failed_wakes = self._young_deaths = 0
        self._next_start = 0.0

    def pause(self, now: float) -> float:
        """Seconds until the next start may be tried."""
        return max(0.0, self._next_start - now)

    def block(self, model: str | None, now: float) -> Block | None:
        """Why a call for the model is not even tried, if it is not."""
        for each in (model, None):
            record = self._records.get(each)
            if record is None or record.block is None:
                continue
            if now < record.block.until:
                return record.block
            record.block = None
            record.failures = 0  # who died is tried once more, everything else three times
        return None

    def quarantined(self, now: float) -> tuple[str, ...]:
        return tuple(
            model
            for model, record in list(self._records.items())
            if model is not None
            and (block := record.block) is not None
            and block.code == "model_quarantined"
            and now < block.until
        )

    def _pause(self, failures: int, now: float) -> None:
        self._next_start = max(self._next_start, now + pause_after(failures))

    def _quarantine(self, model: str | None, deaths: int, now: float) -> Block:
        seconds = min(LONGEST_QUARANTINE, QUARANTINE_SECONDS * 2.0 ** (deaths - ATTEMPTS))
        text = (
            f"Loading {model} has ended {deaths} processes in a row. It is not tried for a while."
        )
        return Block(code="model_quarantined", message=text, until=now + seconds)


def pause_after(failures: int) -> float:
    """Seconds, after so many failures in a row."""
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 30)))
