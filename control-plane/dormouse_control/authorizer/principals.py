"""Who is calling, from memory: principals that the control plane vouched for."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dormouse_control.identity.reach import EVERYTHING, Reach, reach

KEPT = 50_000
UNKNOWN_KEPT = 10_000


@dataclass(frozen=True)
class Limit:
    """Of all calls, or of those to one service, that count under `subject`. None: no limit."""

    subject: str
    service: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True)
class Principal:
    """`credential` is the id of the key or session that the call came with.

    All times are seconds since 1970, None: no end. `entitlements` says until when each service may
    be called; `reach` and `ip_ranges` are what the credential itself is narrowed to.
    `asked_again_at` is when a budget that is spent begins anew. `budgeted`: calls are paid from a
    budget. `max_queued` calls may wait, bodies may have `max_body` bytes; None: as many as may.
    """

    user: str
    credential: str
    highest_priority: int
    entitlements: Mapping[str, float | None]
    expires_at: float | None
    limits: tuple[Limit, ...] = ()
    budgeted: bool = False
    refuse_gpu: bool = False
    max_queued: int | None = None
    max_body: int | None = None
    reach: Reach = EVERYTHING
    ip_ranges: tuple[str, ...] | None = None
    over_budget: bool = False
    asked_again_at: float | None = None


def read_principal(found: Mapping[str, Any]) -> Principal:
    """From the control plane's document."""
    ranges = found["ip_ranges"]
    return Principal(
        user=found["user"],
        credential=found["credential"],
        highest_priority=found["highest_priority"],
        entitlements=found["entitlements"],
        expires_at=found["expires_at"],
        limits=tuple(Limit(**each) for each in found["limits"]),
        budgeted=found["budgeted"],
        refuse_gpu=found["refuse_gpu"],
        max_queued=found["max_queued"],
        max_body=found["max_body"],
        reach=reach(found["services"], found["models"], found["endpoints"]),
        ip_ranges=None if ranges is None else tuple(ranges),
        over_budget=found["over_budget"],
        asked_again_at=found["asked_again_at"],
    )


class ControlPlaneDown(Exception):
    """The control plane does not answer."""


class Source(Protocol):
    async def principal(self, question: dict[str, str]) -> Principal | None:
        """None if there is no such credential. Raises `ControlPlaneDown`."""
        ...


class Principals:
    """A cache that the revocation stream keeps honest.

    An entry stays until a revocation names it. What was asked before a revocation arrived may be
    old news, so such an answer serves the one call that waited for it and is not kept.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._known: OrderedDict[str, Principal] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._changes = 0
        self._asking: dict[str, tuple[int, asyncio.Future[Principal | None]]] = {}

    async def find(
        self, cache_key: str, question: dict[str, str], *, now: float
    ) -> Principal | None:
        """None if the credential is not valid (any more). Raises `ControlPlaneDown`."""
        known = self._known.get(cache_key)
        if known is not None and (known.asked_again_at is None or known.asked_again_at > now):
            return known if known.expires_at is None or known.expires_at > now else None
        if self._unknown.get(cache_key, 0) > now:
            return None
        return await self._ask_once(cache_key, question, now=now)

    async def _ask_once(
        self, cache_key: str, question: dict[str, str], *, now: float
    ) -> Principal | None:
        """Calls that come while the answer is on its way wait for the same one."""
        asking = self._asking.get(cache_key)
        if asking is None or asking[0] != self._changes:
            task = asyncio.ensure_future(self.ask(cache_key, question, now=now))
            asking = self._asking[cache_key] = (self._changes, task)
            task.add_done_callback(lambda ended: self._answered(cache_key, ended))
        return await asyncio.shield(asking[1])

    def _answered(self, cache_key: str, ended: "asyncio.Future[Principal | None]") -> None:
        if not ended.cancelled():
            ended.exception()  # whoever still waits for it raises it
        if cache_key in self._asking and self._asking[cache_key][1] is ended:
            del self._asking[cache_key]

    async def ask(
        self, cache_key: str, question: dict[str, str], *, now: float
    ) -> Principal | None:
        """As `find`, but past the memory; what was known stays if nobody answers."""
        changes = self._changes
        found = await self._source.principal(question)
        if found is None:
            self._known.pop(cache_key, None)
            self._remember_unknown(cache_key, now)
        elif changes == self._changes:
            self._known[cache_key] = found
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found

    def _remember_unknown(self, cache_key: str, now: float) -> None:
        # Nobody can guess a key before it is made, so a wrong one cannot shadow a later right one.
        self._unknown[cache_key] = now + 1
        if len(self._unknown) > UNKNOWN_KEPT:
            self._unknown.popitem(last=False)

    def revoke(self, items: list[dict[str, Any]]) -> None:
        """Forget whoever is named; each item is {"kind": "user" | "key" | "session", "id": …}."""
        self._changes += 1
        named = {item["id"] for item in items}
        doomed = [
            key
            for key, principal in self._known.items()
            if principal.user in named or principal.credential in named
        ]
        for key in doomed:
            del self._known[key]

    def forget_all(self) -> None:
        self._changes += 1
        self._known.clear()
        self._unknown.clear()
