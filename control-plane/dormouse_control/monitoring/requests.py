"""Around every request of the control plane: id, size limit, log line, metrics, and the last catch.

Bare ASGI, because it sees every request. Logs neither bodies nor headers nor query strings.
"""

import re
import time
import uuid
from collections.abc import Mapping
from types import MappingProxyType

import structlog
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dormouse_control.errors import BodyTooLarge, PlatformError

log = structlog.get_logger(__name__)

REQUESTS = Counter(
    "dormouse_http_requests", "Requests answered.", ["api", "method", "route", "status"]
)
SECONDS = Histogram(
    "dormouse_http_request_seconds", "Time until the answer was sent.", ["api", "method", "route"]
)

_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Asked every second or two by machines; they would bury everything else.
_QUIET = frozenset({"/healthz", "/readyz", "/internal/v1/revocations", "/internal/v1/routes"})


class RequestLog:
    """`api` names the application in metrics; bodies over `max_body` bytes are refused, or over
    what `longer` says for their path.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        api: str,
        max_body: int,
        longer: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._app = app
        self._api = api
        self._max_body = max_body
        self._longer = longer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            most = self._longer.get(scope["path"], self._max_body)
            await self._answer(scope, _Limited(receive, most), send, headers, most)

    async def _answer(
        self, scope: Scope, receive: "_Limited", send: Send, headers: Headers, most: int
    ) -> None:
        started = time.perf_counter()
        status = 0

        async def watching(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if int(headers.get("content-length", "0")) > most:
                error = BodyTooLarge(f"The body may have {most} bytes.")
                await _refuse(error, scope, receive, watching)
            else:
                await self._app(scope, receive, watching)
        except Exception:
            log.exception("request_failed")
            if status:
                raise
            await _refuse(PlatformError("Something went wrong here."), scope, receive, watching)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        REQUESTS.labels(self._api, method, route, str(status)).inc()
        SECONDS.labels(self._api, method, route).observe(seconds)
        quiet = route in _QUIET and status < 500
        (log.debug if quiet else log.info)(
            "request", method=method, route=route, status=status, ms=round(seconds * 1000, 1)
        )


class _Limited:
    """Counts what a body without a declared length brings."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            # FastAPI hands on only this kind of error from where bodies are read.
            raise HTTPException(413)
        return message


async def _refuse(error: PlatformError, scope: Scope, receive: Receive, send: Send) -> None:
    response = JSONResponse(error.body(), error.status, headers=error.headers())
    await response(scope, receive, send)
