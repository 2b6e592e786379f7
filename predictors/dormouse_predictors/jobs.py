"""One call on its way through the engine's thread, and the way its answer comes back."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from dormouse.events import UsageEvent
from dormouse.tokens import InternalClaims
from dormouse_predictors.base import (
    Embedded,
    EmbedRequest,
    GenerateRequest,
    Generation,
    Meter,
    Piece,
)
from dormouse_predictors.errors import CallError


@dataclass(frozen=True)
class Done:
    """The call has ended well and its usage is on disk. `result` is None after a stream."""

    result: Generation | Embedded | None


@dataclass(frozen=True)
class Failed:
    error: CallError


Item = Piece | Done | Failed


class Outbox:
    """From the engine's thread to the event loop; wakes the loop once for whatever has gathered."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[Item] = deque()
        self._ready = asyncio.Event()
        self._waking = False

    def put(self, item: Item) -> None:
        self._items.append(item)
        if not self._waking and not self._loop.is_closed():
            self._waking = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._waking = False
        self._ready.set()

    async def waits(self, seconds: float) -> bool:
        """Whether there is something to take, within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while not self._items:
                    await self._come()
        except TimeoutError:
            return False
        return True

    async def _come(self) -> None:
        self._ready.clear()
        if not self._items:
            await self._ready.wait()

    async def take(self) -> list[Item]:
        """Everything that has come since the last time; waits for at least one."""
        while not self._items:
            await self._come()
        return [self._items.popleft() for _ in range(len(self._items))]


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
