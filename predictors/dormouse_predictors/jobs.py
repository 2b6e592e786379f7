"""One call on its way through the engine's thread."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from dormouse.events import UsageEvent
from dormouse.tokens import InternalClaims
from dormouse_predictors.base import EmbedRequest, GenerateRequest, Meter
from dormouse_predictors.errors import CallError
from dormouse_predictors.outbox import Outbox

_KEYS = count()


@dataclass(eq=False)
class Job:
    """`submitted` and `started` are monotonic. `compute_seconds` is its share of the engine's time.
    `early_ms`: it came so long before the predictor was ready. `cut` is why it was ended before its
    end. `event` is what is charged for it. `key` is its own, whatever request ids callers send.
    """

    request_id: str
    endpoint: str
    claims: InternalClaims
    request: GenerateRequest | EmbedRequest
    stream: bool
    outbox: Outbox
    end_user: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)
    submitted: float = field(default_factory=time.monotonic)
    started: float = 0.0
    compute_seconds: float = 0.0
    load_ms: int = 0
    early_ms: int = 0
    cut: CallError | None = None
    event: UsageEvent | None = None
    key: str = field(default_factory=lambda: str(next(_KEYS)))

    @property
    def model(self) -> str:
        return self.claims.model
