"""Performs requests: claims them, makes the calls, and writes what came of it.

Killed at any moment it leaves requests whose lease runs out, and which are then claimed again.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass

import httpx
import structlog

from dormouse_control.background import repeat
from dormouse_control.requests import calling, claims
from dormouse_control.requests.claims import Candidate
from dormouse_control.requests.decisions import (
    LAST_CHANCE,
    MOST_INTERRUPTIONS,
    broken_here,
    choose,
    decide,
    ended_its_predictor,
    given_up,
)
from dormouse_control.requests.models import AsyncRequest, BodyPart
from dormouse_control.requests.operations import body as stored_body
from dormouse_control.requests.writing import PASSING, keep
from dormouse_control.wiring import Platform

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.25
RENEW_SECONDS = 1.0
EXPIRE_SECONDS = 5.0


@dataclass(frozen=True)
class _Held:
    """`suspected`: the service of one that has its last chance."""

    user_id: str
    attempt: int
    suspected: str | None
    task: "asyncio.Task[None]"


class Worker:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._held: dict[str, _Held] = {}
        self._most = platform.settings.async_running

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what runs then is given back, and begins anew in the next control plane."""
        async with calling.client(self._platform.settings.calls_socket) as gateway:
            await asyncio.gather(
                repeat(stop, lambda: self._begin(gateway), seconds=LOOK_SECONDS),
                repeat(stop, self._renew, seconds=RENEW_SECONDS),
                repeat(stop, self._expire, seconds=EXPIRE_SECONDS),
            )
            await self._give_back()

    async def _begin(self, gateway: httpx.AsyncClient) -> None:
        free = self._most - len(self._held)
        if free <= 0:
            return
        running = Counter(held.user_id for held in self._held.values())
        most = max(1, self._most * 3 // 4)
        found = await asyncio.to_thread(self._candidates)
        suspected = {held.suspected for held in self._held.values() if held.suspected is not None}
        for candidate in choose(found, running, free=free, most=most, suspected=suspected):
            if (row := await asyncio.to_thread(self._claim, candidate)) is not None:
                task = asyncio.create_task(self._perform(gateway, row))
                service = row.service if row.interruptions >= LAST_CHANCE else None
                self._held[row.id] = _Held(row.user_id, row.attempt, service, task)

    async def _perform(self, gateway: httpx.AsyncClient, row: AsyncRequest) -> None:
        try:
            await self._attempt_or_end(gateway, row)
        except asyncio.CancelledError:
            log.info("request_let_go", request=row.id, attempt=row.attempt)
        finally:
            self._held.pop(row.id, None)

    async def _attempt_or_end(self, gateway: httpx.AsyncClient, row: AsyncRequest) -> None:
        try:
            await self._attempt(gateway, row)
        except PASSING:
            log.exception("request_not_read", request=row.id)  # its lease runs out
        except Exception:
            # Whoever tried it next would come as far: that is no reason to try again.
            log.exception("request_failed", request=row.id)
            await keep(self._platform, row, broken_here())

    async def _attempt(self, gateway: httpx.AsyncClient, row: AsyncRequest) -> None:
        body = await asyncio.to_thread(self._body, row)
        if body is None:
            return  # it was erased just now
        if row.interruptions >= MOST_INTERRUPTIONS:
            await keep(self._platform, row, given_up(row.call_id))
            return
        platform = self._platform
        outcome = await calling.perform(
            gateway,
            row,
            body,
            key=platform.delegating(),
            now=platform.clock().timestamp(),
        )
        decided = decide(
            outcome, attempt=row.attempt, now=platform.clock(), deadline=row.deadline_at
        )
        died = ended_its_predictor(outcome)
        await keep(platform, row, decided, interrupted=died)

    def _candidates(self) -> list[Candidate]:
        with self._platform.database.reads() as reading:
            found = claims.candidates(reading, most=self._most, now=self._platform.clock())
        return [each for each in found if each.id not in self._held]

    def _claim(self, candidate: Candidate) -> AsyncRequest | None:
        with self._platform.database.sessions.begin() as session:
            return claims.claim(session, candidate.id, now=self._platform.clock())

    def _body(self, row: AsyncRequest) -> bytes | None:
        with self._platform.database.reads() as reading:
            return stored_body(reading, row.id, BodyPart.ASKED)

    async def _renew(self) -> None:
        held = {id: each.attempt for id, each in self._held.items()}
        if not held:
            return
        still = await asyncio.to_thread(self._renewed, held)
        for id in set(held) - still:
            # Cancelled by its owner, or thought dead: whatever it answers is nobody's.
            found = self._held.get(id)
            if found is not None and found.attempt == held[id]:
                found.task.cancel()

    def _renewed(self, held: dict[str, int]) -> set[str]:
        with self._platform.database.sessions.begin() as session:
            return claims.renew(session, held, now=self._platform.clock())

    async def _expire(self) -> None:
        await asyncio.to_thread(self._expired)

    def _expired(self) -> None:
        now = self._platform.clock()
        with self._platform.database.reads() as reading:
            if not claims.any_late(reading, now=now):
                return
        with self._platform.database.sessions.begin() as session:
            claims.expire(session, now=now)

    async def _give_back(self) -> None:
        held = dict(self._held)
        for each in held.values():
            each.task.cancel()
        await asyncio.gather(*(each.task for each in held.values()), return_exceptions=True)
        await asyncio.to_thread(self._released, {id: each.attempt for id, each in held.items()})

    def _released(self, held: dict[str, int]) -> None:
        now = self._platform.clock()
        with self._platform.database.sessions.begin() as session:
            for id, attempt in held.items():
                claims.postpone(session, id, attempt, until=now, refusal=None)
