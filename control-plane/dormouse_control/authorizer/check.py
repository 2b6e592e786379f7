"""The decision about one call: credential, principal, model, entitlement, limits, predictor."""

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dormouse_control.authorizer.credentials import Credential, Credentials
from dormouse_control.authorizer.internal_tokens import InternalTokens
from dormouse_control.authorizer.limits import RequestLimits
from dormouse_control.authorizer.principals import ControlPlaneDown, Principal, Principals
from dormouse_control.authorizer.refusals import (
    Refusal,
    control_plane_unavailable,
    invalid_credentials,
    model_not_found,
    no_model,
    not_entitled,
)
from dormouse_control.authorizer.routes import Route, Routes
from dormouse_control.gateway.paths import INFERENCE
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
    ) -> None:
        self._credentials = credentials
        self._principals = principals
        self._routes = routes
        self._limits = limits
        self._tokens = tokens
        self._nest = nest

    async def check(self, question: Question) -> Admitted:
        """Raises `Refusal`. May take as long as a service needs to wake."""
        credential = self._credentials.read(question.headers.get("authorization"))
        principal = await self._principal(credential)
        name = question.headers.get("x-dormouse-model")
        if question.method != "POST":
            raise Refusal(405, "method_not_allowed", "Use POST for this path.")
        if name is None:
            raise no_model(question.headers.get("x-dormouse-model-error", "missing"))
        route = await self._route(name, question.path)
        self._limit(principal)
        if route.service not in principal.entitlements:
            principal = await self._entitled_since(credential, route.service)
        return await self._admit(question, principal, name, route)

    async def _entitled_since(self, credential: Credential, service: str) -> Principal:
        """Ask anew before refusing: who was entitled a moment ago may call at once."""
        try:
            principal = await self._principals.ask(
                credential.cache_key, credential.question, now=time.time()
            )
        except ControlPlaneDown:
            raise not_entitled(service) from None  # as far as anybody knows
        if principal is None:
            raise invalid_credentials()
        if service not in principal.entitlements:
            raise not_entitled(service)
        return principal

    async def _principal(self, credential: Credential) -> Principal:
        try:
            found = await self._principals.find(
                credential.cache_key, credential.question, now=time.time()
            )
        except ControlPlaneDown:
            raise control_plane_unavailable() from None
        if found is None:
            raise invalid_credentials()
        return found

    async def _route(self, name: str, path: str) -> Route:
        try:
            route = await self._routes.find(name)
        except ControlPlaneDown:
            raise control_plane_unavailable() from None
        if route is None:
            raise model_not_found(name)
        matched = _ENDPOINT.fullmatch(path.partition("?")[0])
        endpoint = matched.group(1).replace("/", ".") if matched else path
        if endpoint not in route.endpoints:
            raise Refusal(
                400,
                "invalid_value",
                f"The model {name!r} does not answer here; it offers {', '.join(route.endpoints)}.",
                "model",
            )
        return route

    def _limit(self, principal: Principal) -> None:
        wait = self._limits.take(
            principal.user, per_minute=principal.requests_per_minute, now=time.monotonic()
        )
        if wait:
            raise Refusal(
                429,
                "rate_limited",
                f"More than {principal.requests_per_minute} requests a minute.",
                retry_after=max(1, math.ceil(wait)),
            )

    async def _admit(
        self, question: Question, principal: Principal, name: str, route: Route
    ) -> Admitted:
        priority = _priority(question.headers, principal)
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
        token = self._tokens.token(
            principal,
            service=route.service,
            model=route.model,
            alias=name if name != route.model else None,
            priority=priority,
            cold_start_ms=found["cold_start_ms"],
        )
        return Admitted(found["address"], token)


def _priority(headers: Mapping[str, str], principal: Principal) -> int:
    """0 is the most urgent; nobody gets more urgent than the tier allows."""
    asked = headers.get("x-dormouse-priority", "1")
    if asked not in ("0", "1", "2"):
        raise Refusal(400, "invalid_value", "x-dormouse-priority must be 0, 1 or 2.", "priority")
    return max(int(asked), principal.highest_priority)
