"""Asks for pieces of limits and gives them back, in batches, one batch after the other.

One at a time, because the lender learns from each what was used since the one before.
"""

import asyncio
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol  # batches are JSON

from structlog import get_logger

from dormouse_control.authorizer.accounting.pieces import Money, Rate, Slots
from dormouse_control.authorizer.principals import ControlPlaneDown

log = get_logger(__name__)

MOST = 500
"""Pieces of one kind in a batch."""

DOWN_SECONDS = 0.5
"""So long nobody waits for a control plane that did not answer."""

Piece = Rate | Slots | Money
_Waiting = tuple[set[Piece], "asyncio.Future[None]"]


class LeasesRefused(Exception):
    """The control plane does not accept the batch, as when another holder has our name."""


class Lender(Protocol):
    async def leases(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Raises `ControlPlaneDown` or `LeasesRefused`."""
        ...


class Leasing:
    """`holder` is a name that stays when this process is started again. Batches and steps are
    numbered by the machine's time, so that those of a later process have higher numbers.
    """

    def __init__(
        self, lender: Lender, holder: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lender = lender
        self._holder = hashlib.sha256(holder.encode()).hexdigest()[:16]
        self._numbers = itertools.count(time.time_ns() // 1000)
        self._clock = clock
        self._fresh = True
        self._needs: dict[Piece, float] = {}
        self._waiting: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None
        self.holders = 1
        self.down = False
        self._down_until = -1e9

    @property
    def alone(self) -> bool:
        return self.holders <= 1

    def note(self, piece: Piece, need: float = 0) -> None:
        """Mention the piece in the next batch, for calls that need so much of it."""
        self._needs[piece] = need + self._needs.get(piece, 0)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def refill(self, needs: Sequence[tuple[Piece, float]]) -> None:
        """Returns when batches with all these needs were answered, or could not be."""
        answered = asyncio.get_running_loop().create_future()
        self._waiting.append(({piece for piece, _ in needs}, answered))
        for piece, need in needs:
            self.note(piece, need)
        await answered

    async def _send(self) -> None:
        while self._needs:
            # Whoever comes in the same turn of the loop goes with this batch.
            await asyncio.sleep(0)
            needs = dict(list(self._needs.items())[:MOST])
            waiting, self._waiting = self._waiting, []
            for piece in needs:
                del self._needs[piece]
            try:
                if self._clock() < self._down_until:
                    self._on_our_own(needs)
                else:
                    await self._exchange(needs)
            except LeasesRefused as error:
                # Not away: it has said no, so nobody takes anything by themselves.
                log.error("leases_refused", reason=str(error))
            except ControlPlaneDown as error:
                if not self.down:
                    log.warning("limits_without_control_plane", reason=str(error))
                self.down, self._down_until = True, self._clock() + DOWN_SECONDS
                self._on_our_own(needs)
            finally:
                self._release(waiting, needs)

    def _release(self, waiting: list[_Waiting], answered: Iterable[Piece]) -> None:
        for pieces, future in waiting:
            pieces.difference_update(answered)
            if pieces and not future.done():
                self._waiting.append((pieces, future))
            elif not future.done():
                future.set_result(None)

    async def _exchange(self, needs: dict[Piece, float]) -> None:
        now = self._clock()
        rates = [piece for piece in needs if isinstance(piece, Rate)]
        slots = [piece for piece in needs if isinstance(piece, Slots)]
        money = [piece for piece in needs if isinstance(piece, Money)]
        reply = await self._lender.leases(
            {
                "holder": self._holder,
                "sent": next(self._numbers),
                "fresh": self._fresh,
                "rates": [rate.request(needs[rate], alone=self.alone, now=now) for rate in rates],
                "slots": [piece.request(int(needs[piece]), now=now) for piece in slots],
                "money": [
                    piece.request(int(needs[piece]), seq=next(self._numbers), now=now)
                    for piece in money
                ],
            }
        )
        self._fresh = False
        self.holders = reply["holders"]
        self.down = False
        pieces: list[Piece] = [*rates, *slots, *money]
        for piece, part in zip(
            pieces, [*reply["rates"], *reply["slots"], *reply["money"]], strict=True
        ):
            piece.granted(part, self._clock())

    def _on_our_own(self, needs: Iterable[Piece]) -> None:
        """Rates go on at our share of the limit; of money there is only what we hold."""
        now = self._clock()
        for piece in needs:
            if isinstance(piece, Rate):
                piece.refill_alone(holders=self.holders, now=now)
            elif isinstance(piece, Slots):
                piece.go_on(holders=self.holders)
