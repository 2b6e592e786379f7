"""Bare ASGI in front of the checker: the gateway's question in, allowed or refused out."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from prometheus_client import Counter, Histogram
from structlog import get_logger

from dormouse.rate_limits import limit_headers
from dormouse_control.authorizer.check import Admitted, Checker, Question
from dormouse_control.authorizer.refusals import WIRE_STATUS, Refusal, overloaded

log = get_logger(__name__)

CHECKS = Counter("dormouse_checks_total", "Calls checked.", ["code"])
SECONDS = Histogram(
    "dormouse_check_seconds",
    "Time of a check, waiting for a wake included.",
    buckets=(0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1, 5, 30, 300),
)

MOST_AT_ONCE = 4096
"""Checks, those that wait for a wake included. More than that nobody could answer in time."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Authorizer:
    def __init__(self, checker: Checker) -> None:
        self._checker = checker
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        started = perf_counter()
        question = _question(scope)
        self._running += 1
        try:
            answer = await self._answer(question, receive)
        finally:
            self._running -= 1
        SECONDS.observe(perf_counter() - started)
        if answer is None:
            CHECKS.labels("hung_up").inc()
            return
        if isinstance(answer, Admitted):
            CHECKS.labels("admitted").inc()
            await _reply(send, 200, _allowed(answer), b"")
            return
        CHECKS.labels(answer.code).inc()
        log.info(
            "refused",
            request_id=question.headers.get("x-request-id"),
            code=answer.code,
            path=question.path,
        )
        status = WIRE_STATUS.get(answer.status, answer.status)
        await _reply(send, status, _refused(answer), answer.body())

    async def _answer(self, question: Question, receive: Receive) -> Admitted | Refusal | None:
        """None if the caller went away first."""
        if self._running > MOST_AT_ONCE:
            return overloaded()
        return await self._until_hung_up(question, receive)

    async def _until_hung_up(
        self, question: Question, receive: Receive
    ) -> Admitted | Refusal | None:
        """None if the caller went away first; whatever the check waited for is given up."""
        check = asyncio.ensure_future(self._decide(question))
        gone = asyncio.ensure_future(_hung_up(receive))
        await asyncio.wait((check, gone), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if check.done():
            return check.result()
        check.cancel()
        return None

    async def _decide(self, question: Question) -> Admitted | Refusal:
        try:
            return await self._checker.check(question)
        except Refusal as refusal:
            return refusal
        except Exception:
            # The request loop: a defect of ours refuses the call, it never lets it pass.
            log.exception("check_broke", request_id=question.headers.get("x-request-id"))
            return Refusal(500, "internal_error", "The check failed; this is a defect of ours.")


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _question(scope: Scope) -> Question:
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        # As proxies do: a header that comes twice must not hide its first half.
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    # The path as the caller wrote it, percent signs and all: what the gateway routed on.
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return Question(scope["method"], path, headers, query)


def _allowed(admitted: Admitted) -> list[tuple[bytes, bytes]]:
    return [
        (b"authorization", b"Bearer " + admitted.token.encode()),
        (b"x-envoy-original-dst-host", admitted.address.encode()),
        (b"x-dormouse-limits", admitted.limits.encode()),
    ]


def _refused(refusal: Refusal) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-type", b"application/json")]
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    if refusal.limits is not None:
        headers += limit_headers(refusal.limits.encode())
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


async def _reply(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
