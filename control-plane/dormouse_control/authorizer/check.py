"""The decision about one call: credential, principal, model, entitlement, limits, predictor."""

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from dormouse.preferences import PROGRESS, prefers
from dormouse_control.authorizer.accounting.account import Account
from dormouse_control.authorizer.accounting.accounts import Accounts, Purpose
from dormouse_control.authorizer.credentials import Credential, Credentials
from dormouse_control.authorizer.decisions import Call
from dormouse_control.authorizer.internal_tokens import InternalTokens
from dormouse_control.authorizer.permissions import (
    allowed_priority,
    check_budget,
    check_call,
    check_credential,
    check_reach,
    check_right,
    max_body,
    right_ends,
    valid_until,
)
from dormouse_control.authorizer.permits import Grant, Permits
from dormouse_control.authorizer.principals import ControlPlaneDown, Principal, Principals
from dormouse_control.authorizer.refusals import (
    Refusal,
    control_plane_unavailable,
    invalid_credentials,
    model_not_found,
    nest_unavailable,
    no_model,
    no_predictor,
    too_many_waiting,
)
from dormouse_control.authorizer.routes import Route, Routes, endpoint_of
from dormouse_control.gateway.paths import ADDRESS_HEADER, DELEGATING_HEADER
from dormouse_control.nest.client import NestUnavailable

SMALL_BODY = 4096
LARGE_BODY = 32 * 1024 * 1024
"""Bytes; a body of unknown length is taken for one of these."""


class Nest(Protocol):
    def expect(self, *, service: str, model: str) -> None: ...

    async def acquire(
        self,
        *,
        service: str,
        model: str,
        priority: int,
        request_id: str,
        user: str,
        early: bool,
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
    """`limits` is what the caller may still do (`accounting.shortage.limits_header`)."""

    address: str
    token: str
    limits: str


class Checker:
    def __init__(
        self,
        *,
        credentials: Credentials,
        principals: Principals,
        routes: Routes,
        accounts: Accounts,
        tokens: InternalTokens,
        nest: Nest,
        permits: Permits | None = None,
    ) -> None:
        self._credentials = credentials
        self._principals = principals
        self._routes = routes
        self._accounts = accounts
        self._tokens = tokens
        self._nest = nest
        self._permits = permits
        self._waiting: Counter[str] = Counter()

    async def check(self, question: Question) -> Admitted:
        """Raises `Refusal`. May take as long as a service needs to wake."""
        credential = self._credential(question)
        principal = await self._principal(credential, question)
        name = question.headers.get("x-dormouse-model")
        if question.method != "POST":
            raise Refusal(405, "method_not_allowed", "Use POST for this path.")
        if name is None:
            raise no_model(question.headers.get("x-dormouse-model-error", "missing"))
        route, endpoint = await self._route(name, question.path)
        size = _bytes(question.headers)
        check_call(principal, route, endpoint, size=size)
        bound = _bound(size, route.reserve[endpoint])
        account = self._accounts.of(principal, _purpose(route, endpoint, bound))
        await self._accounts.admit(account, asking=partial(self._expect, principal, route))
        call = _Asked(question, credential, name, route, endpoint)
        try:
            admitted = await self._admitted(call, principal, account)
        except BaseException:  # also a caller who hung up while the service woke
            account.give_up(time.monotonic())
            raise
        account.went(time.monotonic())
        if admitted.permit is not None and self._permits is not None:
            self._permits.give(*admitted.permit, account, bound)
        return admitted.answer

    async def _admitted(
        self, call: "_Asked", principal: Principal, account: Account
    ) -> "_Admitted":
        question, credential, route = call.question, call.credential, call.route
        principal = await self._entitled(credential, principal, route.service)
        check_budget(principal, route)
        priority = allowed_priority(question.headers, principal)
        found = await self._acquire(question, principal, route, priority)
        # It may have waited for minutes, and what was taken away meanwhile is gone.
        position = self._tokens.position
        principal = await self._principal(credential, question)
        check_reach(principal, route, call.endpoint)
        check_right(principal, route.service, now=time.time())
        check_budget(principal, route)
        token = self._tokens.token(
            principal,
            service=route.service,
            model=route.model,
            alias=call.name if call.name != route.model else None,
            priority=priority,
            cold_start_ms=found["cold_start_ms"],
            position=position,
            until=right_ends(principal, route.service),
            account=account.number,
            lease=account.money.lease if account.money and account.reserve else None,
            max_body=max_body(principal, route),
        )
        answer = Admitted(found["address"], token, self._accounts.header(account))
        # What a revocation overtook serves this one call, and no later one. Where there are several
        # predictors, each call has to be given to the one that has least to do.
        lasting = found.get("lasting", True) and found["cold_start_ms"] is None
        if credential.delegated or not lasting or position != self._tokens.position:
            return _Admitted(answer, None)
        until = valid_until(principal, credential, route.service)
        return _Admitted(answer, _permit(question, principal, answer, until=until))

    def _credential(self, question: Question) -> Credential:
        header = question.headers.get("authorization")
        if DELEGATING_HEADER in question.headers:
            request = question.headers.get("x-request-id", "")
            return self._credentials.read_delegated(header, request)
        return self._credentials.read(header, question.query)

    async def _principal(self, credential: Credential, question: Question) -> Principal:
        now = time.time()
        try:
            found = await self._principals.find(credential.cache_key, credential.question, now=now)
        except ControlPlaneDown:
            raise control_plane_unavailable() from None
        if found is None:
            raise invalid_credentials()
        sent_from = question.headers.get(ADDRESS_HEADER)
        address = credential.address if credential.delegated else sent_from
        check_credential(found, address=address, now=now)
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

    def _expect(self, principal: Principal, route: Route) -> None:
        """It is asked for a piece of a limit, and meanwhile the service may wake."""
        with suppress(Refusal):
            check_right(principal, route.service, now=time.time())
            self._nest.expect(service=route.service, model=route.model)

    async def _route(self, name: str, path: str) -> tuple[Route, str]:
        """Where the name leads, and which of its endpoints is asked."""
        try:
            route = await self._routes.find(name)
        except ControlPlaneDown:
            raise control_plane_unavailable() from None
        if route is None:
            raise model_not_found(name)
        return route, endpoint_of(route, name, path)

    async def _acquire(
        self, question: Question, principal: Principal, route: Route, priority: int
    ) -> dict[str, Any]:
        most = principal.max_queued
        if most is not None and self._waiting[principal.user] >= most:
            raise too_many_waiting(most)
        self._waiting[principal.user] += 1
        try:
            found = await self._nest.acquire(
                service=route.service,
                model=route.model,
                priority=priority,
                request_id=question.headers.get("x-request-id", ""),
                user=principal.user,
                early=prefers(question.headers.get("prefer", ""), PROGRESS),
            )
        except NestUnavailable:
            raise nest_unavailable() from None
        finally:
            self._waiting[principal.user] -= 1
            if not self._waiting[principal.user]:
                del self._waiting[principal.user]
        if not found["ok"]:
            raise no_predictor(found["code"], found["message"], wait=found["retry_after"])
        return found


@dataclass(frozen=True)
class _Asked:
    """A call of a known caller: `name` is what they wrote into `model`."""

    question: Question
    credential: Credential
    name: str
    route: Route
    endpoint: str


@dataclass(frozen=True)
class _Admitted:
    """`permit` is what the gateway may let through from now on by itself."""

    answer: Admitted
    permit: tuple[Call, int, Grant] | None


def _permit(
    question: Question, principal: Principal, answer: Admitted, *, until: float
) -> tuple[Call, int, Grant] | None:
    """None if each such call has to be looked at."""
    worker = question.headers.get("x-dormouse-worker")
    if worker is None or principal.ip_ranges is not None:
        return None
    call = Call(
        question.headers["authorization"],
        f"{question.path}?{question.query}" if question.query else question.path,
        question.headers.get("x-dormouse-priority", "1"),
        question.headers["x-dormouse-model"],
    )
    grant = Grant(
        user=principal.user,
        credential=principal.credential,
        address=answer.address,
        token=f"Bearer {answer.token}",
        until=until,
    )
    return call, int(worker), grant


def _bytes(headers: Mapping[str, str]) -> int | None:
    sent = headers.get("x-dormouse-bytes", "")
    return int(sent) if sent.isascii() and sent.isdigit() and len(sent) < 16 else None


def _bound(size: int | None, reserve: tuple[int, int]) -> int | None:
    """How long a body of the account's calls may be, so that calls of like length share one."""
    if not reserve[1]:
        return None
    bound = SMALL_BODY
    while bound < (LARGE_BODY if size is None else size):
        bound *= 4
    return bound


def _purpose(route: Route, endpoint: str, bound: int | None) -> Purpose:
    fixed, each = route.reserve[endpoint]
    return Purpose(route.service, route.model, fixed + each * (bound or 0))
