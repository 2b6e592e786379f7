"""Tells authorizers what became of the calls they admitted (`dormouse.meters`), by datagrams.

Event loop only. Nothing here waits or raises into a call: what cannot be sent now is made up for
by a later datagram. Tokens and cost are of calls that have ended.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from dormouse import meters
from dormouse.events import UsageEvent
from dormouse.tokens import InternalClaims
from dormouse_predictors.meter_records import MeterListener, Record, read_listener

SOON_SECONDS = 0.005
"""Changes are gathered for so long."""

TICK_SECONDS = 0.5
"""So often what is lively is repeated."""

LOOK_SECONDS = 60.0
"""How often it is looked for what can be forgotten."""

MOST_UDP = 25
"""Records in a datagram that networks take in one piece."""

_log = structlog.get_logger()


class Metering:
    """`folder` holds the Unix sockets of authorizers on this machine."""

    def __init__(
        self,
        folder: Path | None,
        cost: Callable[[UsageEvent], int],
        *,
        identity: bytes | None = None,
    ) -> None:
        self.identity = os.urandom(meters.PREDICTOR_BYTES) if identity is None else identity
        self._folder = folder
        self._cost = cost
        self._listeners: dict[str, MeterListener | None] = {}
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        self._soon: asyncio.TimerHandle | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._looked = time.monotonic()

    def begin(self, claims: InternalClaims) -> Record | None:
        """A call with a valid token has arrived; None if nobody wants to hear of it."""
        if claims.authorizer is None or claims.account is None:
            return None
        listener = self._listener(claims.authorizer)
        if listener is None:
            return None
        record = listener.records.get(claims.account)
        if record is None:
            record = listener.records[claims.account] = Record(claims.account)
        record.began += 1
        self._changed(listener, record)
        return record

    def end(self, claims: InternalClaims, record: Record | None, event: UsageEvent | None) -> None:
        """The call is over; `event` is what is charged for it."""
        listener = self._listener(claims.authorizer) if claims.authorizer else None
        if record is None or listener is None:
            return
        record.ended += 1
        if event is not None:
            record.prompt_tokens += event.prompt_tokens
            record.completion_tokens += event.completion_tokens
            record.cost_nano += self._cost(event)
        self._changed(listener, record)

    def close(self) -> None:
        """Say the last, and no more."""
        self._say_news()
        for handle in (self._soon, self._tick):
            if handle is not None:
                handle.cancel()
        for each in self._sockets.values():
            each.close()
        self._sockets.clear()
        self._listeners.clear()

    def _changed(self, listener: MeterListener, record: Record) -> None:
        record.changed, record.sent = time.monotonic(), False
        listener.news.add(record)
        listener.lively.add(record)
        loop = asyncio.get_running_loop()
        if self._soon is None:
            self._soon = loop.call_later(SOON_SECONDS, self._say_news)
        if self._tick is None:
            self._tick = loop.call_later(TICK_SECONDS, self._repeat)

    def _say_news(self) -> None:
        self._soon = None
        for listener in self._listeners.values():
            if listener is not None and listener.news:
                news = list(listener.news)
                listener.news.clear()
                self._send(listener, news)

    def _repeat(self) -> None:
        self._tick = None
        now = time.monotonic()
        for listener in self._listeners.values():
            if listener is not None:
                listener.lively = {each for each in listener.lively if not each.is_over(now)}
                self._send(listener, list(listener.lively))
        if now - self._looked >= LOOK_SECONDS:
            self._forget(now)
        if any(listener is not None and listener.lively for listener in self._listeners.values()):
            self._tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._repeat)

    def _forget(self, now: float) -> None:
        """Who has not called for long and has nothing open begins anew."""
        self._looked = now
        for authorizer, listener in list(self._listeners.items()):
            if listener is None:
                continue
            listener.records = {
                account: record
                for account, record in listener.records.items()
                if not record.is_old(now)
            }
            if not listener.records:
                del self._listeners[authorizer]

    def _send(self, listener: MeterListener, records: list[Record]) -> None:
        most = meters.MOST if listener.family == socket.AF_UNIX else MOST_UDP
        for start in range(0, len(records), most):
            part = records[start : start + most]
            datagram = meters.encode(self.identity, [each.values() for each in part])
            try:
                self._socket(listener.family).sendto(datagram, listener.address)
            except OSError:
                return  # full, or not there: the next tick has them again
            for each in part:
                each.sent = True

    def _socket(self, family: socket.AddressFamily) -> socket.socket:
        found = self._sockets.get(family)
        if found is None:
            found = self._sockets[family] = socket.socket(family, socket.SOCK_DGRAM)
            found.setblocking(False)
        return found

    def _listener(self, authorizer: str) -> MeterListener | None:
        if authorizer not in self._listeners:
            self._listeners[authorizer] = read_listener(authorizer, self._folder)
            if self._listeners[authorizer] is None:
                _log.warning("meters not sent", authorizer=authorizer)
        return self._listeners[authorizer]
