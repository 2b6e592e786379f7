"""The three applications of the control plane, and the one place where errors become HTTP."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any  # starlette's handlers take any exception

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

import dormouse_control.access.api
import dormouse_control.account.api
import dormouse_control.approvals.api
import dormouse_control.audit.api
import dormouse_control.budgets.api
import dormouse_control.catalog.api
import dormouse_control.entitlements.api
import dormouse_control.entitlements.decisions_api
import dormouse_control.groups.api
import dormouse_control.groups.granting_api
import dormouse_control.identity.accounts_api
import dormouse_control.identity.api
import dormouse_control.identity.keys_api
import dormouse_control.internal.api
import dormouse_control.invitations.api
import dormouse_control.leaving.api
import dormouse_control.ledger.api
import dormouse_control.monitoring.api
import dormouse_control.oidc.api
import dormouse_control.proofs.api
import dormouse_control.requests.api
import dormouse_control.requests.intake_api
import dormouse_control.signing_keys.api
import dormouse_control.tiers.api
import dormouse_control.usage.api
import dormouse_control.users.api
import dormouse_control.users.keys_api
import dormouse_control.waking.api
import dormouse_control.webhooks.api
import dormouse_control.workspace.api
from dormouse_control import errors, rules
from dormouse_control.authorizer.refusals import Refusal
from dormouse_control.db import is_full
from dormouse_control.idempotency.route import Repeated
from dormouse_control.idempotency.route import answer as repeated
from dormouse_control.monitoring.requests import RequestLog
from dormouse_control.safe_headers import SafeHeaders
from dormouse_control.turns import TURN
from dormouse_control.wire import Failure
from dormouse_control.wiring import Platform

log = structlog.get_logger(__name__)

_MANAGEMENT_BODY = 1024 * 1024
_EVENTS_BODY = 32 * 1024 * 1024

_HANDLED: tuple[type[Exception], ...] = (
    errors.PlatformError,
    Refusal,
    RequestValidationError,
    HTTPException,
    IntegrityError,
    OperationalError,
    InterfaceError,
    PoolTimeout,
)
_VALIDATION = {
    "missing": errors.MissingParameter,
    "extra_forbidden": errors.UnknownParameter,
    "json_invalid": errors.InvalidJson,
}


def public_app(platform: Platform) -> FastAPI:
    """What callers reach through the gateway."""
    routers = [
        dormouse_control.identity.accounts_api.router,
        dormouse_control.invitations.api.router,
        dormouse_control.account.api.router,
        dormouse_control.identity.api.router,
        dormouse_control.proofs.api.router,
        dormouse_control.identity.keys_api.router,
        dormouse_control.oidc.api.router,
        dormouse_control.entitlements.api.router,
        dormouse_control.entitlements.decisions_api.router,
        dormouse_control.approvals.api.router,
        dormouse_control.access.api.router,
        dormouse_control.users.api.router,
        dormouse_control.users.keys_api.router,
        dormouse_control.groups.api.router,
        dormouse_control.groups.granting_api.router,
        dormouse_control.tiers.api.router,
        dormouse_control.workspace.api.router,
        dormouse_control.leaving.api.router,
        dormouse_control.catalog.api.router,
        dormouse_control.waking.api.router,
        dormouse_control.budgets.api.router,
        dormouse_control.usage.api.router,
        dormouse_control.audit.api.router,
        dormouse_control.ledger.api.router,
        dormouse_control.monitoring.api.router,
        dormouse_control.signing_keys.api.router,
        dormouse_control.requests.intake_api.router,
        dormouse_control.requests.api.router,
        dormouse_control.webhooks.api.router,
    ]
    longest = platform.settings.max_body_mb * 1024 * 1024
    calls = dict.fromkeys(dormouse_control.requests.intake_api.PATHS, longest)
    return _app(platform, routers, api="public", max_body=_MANAGEMENT_BODY, longer=calls)


def internal_app(platform: Platform) -> FastAPI:
    """What only our own processes reach."""
    routers = [dormouse_control.internal.api.router]
    return _app(platform, routers, api="internal", max_body=_EVENTS_BODY)


def local_app(platform: Platform) -> FastAPI:
    """What only the owner of this machine's files reaches."""
    routers = [dormouse_control.identity.accounts_api.local_router]
    return _app(platform, routers, api="local", max_body=_MANAGEMENT_BODY)


def _app(
    platform: Platform,
    routers: list[APIRouter],
    *,
    api: str,
    max_body: int,
    longer: Mapping[str, int] = MappingProxyType({}),
) -> FastAPI:
    app = FastAPI(
        title="Dormouse",
        openapi_url="/api/v1/openapi.json" if api == "public" else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat the caller's own Host header
        generate_unique_id_function=lambda route: route.name,
        responses={"4XX": {"model": Failure}, "5XX": {"model": Failure}},
        # Our own processes have threads apart: some of their requests wait, and hold nothing.
        dependencies=[] if api == "internal" else [TURN],
    )
    app.state.platform = platform
    app.state.draining = asyncio.Event()
    for router in routers:
        if api == "public":
            _document_rules(router)
        app.include_router(router)
    for kind in _HANDLED:
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(Repeated, repeated)
    app.add_middleware(RequestLog, api=api, max_body=max_body, longer=longer)
    app.add_middleware(SafeHeaders)
    return app


def _document_rules(router: APIRouter) -> None:
    """Raises TypeError for a route whose rule cannot be told."""
    for route in router.routes:
        if not isinstance(route, APIRoute):
            raise TypeError(f"{route!r} is no route of FastAPI's own, and has no rule")
        document = rules.declared(route).document()
        route.openapi_extra = {**(route.openapi_extra or {}), "x-dormouse-rule": document}


async def _answer(_request: Request, error: Exception) -> Response:
    if isinstance(error, Refusal):
        return _refused(error)
    ours = _ours(error)
    headers = (
        dict(getattr(error, "headers", None) or {}) if isinstance(error, HTTPException) else {}
    )
    return JSONResponse(ours.body(), ours.status, headers=headers | ours.headers())


def _refused(refusal: Refusal) -> Response:
    """What the authorizer would have said."""
    headers = {} if refusal.retry_after is None else {"retry-after": str(refusal.retry_after)}
    return Response(refusal.body(), refusal.status, headers=headers, media_type="application/json")


def _ours(error: Exception) -> errors.PlatformError:
    if isinstance(error, errors.PlatformError):
        return error
    if isinstance(error, RequestValidationError):
        return _from_validation(error.errors()[0])
    if isinstance(error, HTTPException):
        return _from_http(error.status_code)
    if isinstance(error, IntegrityError):
        # Not its text: PostgreSQL's names the values of the row.
        log.info("conflict", reason=type(error.orig).__name__)
        return errors.AlreadyExists("This exists already.")
    if is_full(error):
        log.error("disk_full")
        return errors.InsufficientStorage("There is no space left to keep this. Try again later.")
    log.error("database_unavailable", exc_info=error)
    return errors.Unavailable("The database does not answer. Try again shortly.")


def _from_validation(found: dict[str, Any]) -> errors.PlatformError:
    """Names the field and what is wrong, never the value: it may be a password."""
    kind = _VALIDATION.get(found["type"], errors.InvalidValue)
    if kind is errors.InvalidJson:
        return errors.InvalidJson("The body is not JSON.")
    # The first part says where: body, query, path.
    param = ".".join(str(part) for part in found["loc"][1:]) or None
    if param is None:
        return kind("The body must be a JSON object, with content-type application/json.")
    text = found["msg"].removeprefix("Value error, ")  # pydantic's, before what we say
    return kind(f"{param}: {text}", param=param)


def _from_http(status: int) -> errors.PlatformError:
    if status == 404:
        return errors.NotFound("There is nothing at this path.")
    if status == 405:
        return errors.MethodNotAllowed("This path does not know this method.")
    if status == 413:
        return errors.BodyTooLarge("The body is too large.")
    # What is left is FastAPI's answer to a body that it could not read.
    return errors.InvalidJson("The body is not JSON.")
