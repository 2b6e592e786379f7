"""The decision about one call: credential, principal, model, entitlement, limits, predictor."""

import asyncio
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from dormouse_control.authorizer.credentials import Credential, Credentials
from dormouse_control.authorizer.decisions import SETTLE_SECONDS, Call
from dormouse_control.authorizer.internal_tokens import InternalTokens
from dormouse_control.authorizer.limits import RequestLimit, RequestLimits
from dormouse_control.authorizer.permissions import (
    check_budget,
    check_credential,
    check_reach,
    check_right,
    valid_until,
)
from dormouse_control.authorizer.permits import Grant, Permits
from dormouse_control.authorizer.principals import ControlPlaneDown, Principal, Principals
from dormouse_control.authorizer.refusals import (
    Refusal,
    control_plane_unavailable,
    invalid_credentials,
    model_not_found,
    no_model,
    rate_limited,
)
from dormouse_control.authorizer.routes import Route, Routes
from dormouse_control.gateway.paths import ADDRESS_HEADER, INFERENCE
from dormouse_control.nest.client import NestUnavailable

_ENDPOINT = re.compile(INFERENCE)


class Nest(Protocol):
    async def acquire(
        self, *, service: str, model: str, priority: int, request_id: str
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Question:
    """What the gateway says of a call. `headers` has lower-case names."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: str = ""


@dataclass(frozen=True)
class Admitted:
    address: str
    token: str


class Checker:
    def __init__(
        self,
        *,
        credentials: Credentials,
        principals: Principals,
        routes: Routes,
        limits: RequestLimits,
        tokens: InternalTokens,
        nest: Nest,
        permits: Permits | None = None,
    ) -> None:
        self._credentials = credentials
        self._principals = principals
        self._routes = routes
        self._limits = limits
        self._tokens = tokens
        self._nest = nest
        self._permits = permits

    async def check(self, question: Question) -> Admitted:
        """Raises `Refusal`. May take as long as a service needs to wake."""
        header = question.headers.get("authorization")
        credential = self._credentials.read(header, question.query)
        principal = await self._principal(credential, question)
        name = question.headers.get("x-dormouse-model")
        if question.method != "POST":
            raise Refusal(405, "method_not_allowed", "Use POST for this path.")
        if name is None:
            raise no_model(question.headers.get("x-dormouse-model-error", "missing"))
        route, endpoint = await self._route(name, question.path)
        check_reach(principal, route, endpoint)
        await self._limit(principal)
        principal = await self._entitled(credential, principal, route.service)
        check_budget(principal)
        priority = _priority(question.headers, principal)
        found = await self._acquire(question, route, priority)
        # It may have waited for minutes, and what was taken away meanwhile is gone.
        position = self._tokens.position
        principal = await self._principal(credential, question)
        check_reach(principal, route, endpoint)
        check_right(principal, route.service, now=time.time())
        check_budget(principal)
        token = self._tokens.token(
            principal,
            service=route.service,
            model=route.model,
            alias=name if name != route.model else None,
            priority=priority,
            cold_start_ms=found["cold_start_ms"],
            position=position,
        )
        admitted = Admitted(found["address"], token)
        # What a revocation overtook serves this one call, and no later one.
        if found["cold_start_ms"] is None and position == self._tokens.position:
            until = valid_until(principal, credential, route.service)
            self._permit(question, principal, admitted, until=until)
        return admitted

    def _permit(
        self, question: Question, principal: Principal, admitted: Admitted, *, until: float
    ) -> None:
        """Let the gateway decide the next such calls itself, if nothing else speaks against it."""
        worker = question.headers.get("x-dormouse-worker")
        if self._permits is None or worker is None or principal.ip_ranges is not None:
            return
        call = Call(
            question.headers["authorization"],
            f"{question.path}?{question.query}" if question.query else question.path,
            question.headers.get("x-dormouse-priority", "1"),
            question.headers["x-dormouse-model"],
        )
        grant = Grant(
            user=principal.user,
            credential=principal.credential,
            address=admitted.address,
            token=f"Bearer {admitted.token}",
            until=until,
            limits=_limits(principal),
        )
        self._permits.give(call, int(worker), grant)

    async def _principal(self, credential: Credential, question: Question) -> Principal:
        now = time.time()
        try:
            found = await self._principals.find(credential.cache_key, credential.question, now=now)
        except ControlPlaneDown:
            raise control_plane_unavailable() from None
        if found is None:
            raise invalid_credentials()
        check_credential(found, address=question.headers.get(ADDRESS_HEADER), now=now)
        return found

    async def _entitled(
        self, credential: Credential, principal: Principal, service: str
    ) -> Principal:
        """Ask anew before refusing: who was entitled a moment ago may call at once."""
        now = time.time()
        try:
            check_right(principal, service, now=now)
        except Refusal as refusal:
            with suppress(ControlPlaneDown):  # then it stays as far as anybody knows
                asked = await self._principals.ask(
                    credential.cache_key, credential.question, now=now
                )
                if asked is None:
                    raise invalid_credentials() from None
                check_right(asked, service, now=now)
                return asked
            raise refusal from None
        return principal

    async def _route(self, name: str, path: str) -> tuple[Route, str]:
        """Where the name leads, and which of its endpoints is asked."""
        try:
            route = await self._routes.find(name)
        except ControlPlaneDown:
            raise control_plane_unavailable() from None
        if route is None:
            raise model_not_found(name)
        matched = _ENDPOINT.fullmatch(path)
        endpoint = matched.group(1).replace("/", ".") if matched else path
        if endpoint not in route.endpoints:
            raise Refusal(
                400,
                "invalid_value",
                f"The model {name!r} does not answer here; it offers {', '.join(route.endpoints)}.",
                "model",
            )
        return route, endpoint

    async def _limit(self, principal: Principal) -> None:
        for limit in _limits(principal):
            wait = self._limits.take(limit, now=time.monotonic())
            if wait and self._permits is not None and self._permits.recall(limit.whose):
                # What the gateway did not use of it is there again.
                await asyncio.sleep(SETTLE_SECONDS)
                self._permits.sweep()
                wait = self._limits.take(limit, now=time.monotonic())
            if wait:
                raise rate_limited(limit.per_minute, wait=wait)

    async def _acquire(self, question: Question, route: Route, priority: int) -> dict[str, Any]:
        try:
            found = await self._nest.acquire(
                service=route.service,
                model=route.model,
                priority=priority,
                request_id=question.headers.get("x-request-id", ""),
            )
        except NestUnavailable:
            raise Refusal(
                503, "unavailable", "The platform is restarting.", retry_after=1
            ) from None
        if not found["ok"]:
            status = 429 if found["code"] == "queue_full" else 503
            raise Refusal(
                status, found["code"], found["message"], retry_after=max(1, found["retry_after"])
            )
        return found


def _limits(principal: Principal) -> tuple[RequestLimit, ...]:
    """The key's own limit first: what it refuses takes nothing from the user's others."""
    users = RequestLimit(principal.user, principal.requests_per_minute)
    if principal.key_requests_per_minute is None:
        return (users,)
    return RequestLimit(principal.credential, principal.key_requests_per_minute), users


def _priority(headers: Mapping[str, str], principal: Principal) -> int:
    """0 is the most urgent; nobody gets more urgent than the tier allows."""
    asked = headers.get("x-dormouse-priority", "1")
    if asked not in ("0", "1", "2"):
        raise Refusal(400, "invalid_value", "x-dormouse-priority must be 0, 1 or 2.", "priority")
    return max(int(asked), principal.highest_priority)
