"""Small JSON documents from a provider: no redirects, no proxies, a limit to size and time."""

import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any  # the documents are JSON

import httpx
import structlog

from dormouse_control.errors import Busy, ProviderRefused, ProviderUnavailable

log = structlog.get_logger(__name__)

_LONGEST = 256 * 1024
_SECONDS = 10
# Of all threads that answer requests, so many may talk to providers at once.
_TALKS = threading.BoundedSemaphore(4)
_WAIT_SECONDS = 1


def fetch(
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    auth: httpx.Auth | None = None,
    bearer: str | None = None,
) -> dict[str, Any]:
    """GET, or POST with a form. Raises `ProviderUnavailable`, `ProviderRefused` or `Busy`."""
    with turn(_TALKS):
        # Not compressed: a small answer must not become a large one here.
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        if bearer is not None:
            headers["authorization"] = f"Bearer {bearer}"
        method = "GET" if form is None else "POST"
        request = _client().build_request(method, url, headers=headers, data=form)
        return _sent(request, auth)


@contextmanager
def turn(held: "Lock | threading.Semaphore") -> Iterator[None]:
    """Waits only shortly: a provider that hangs must not take every thread with it."""
    if not held.acquire(timeout=_WAIT_SECONDS):
        raise Busy("Too many sign-ins wait for their provider. Try again shortly.")
    try:
        yield
    finally:
        held.release()


@cache
def _client() -> httpx.Client:
    return httpx.Client(
        # The machine's own certificates, to which an administrator can add the company's.
        verify=ssl.create_default_context(),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(5),
    )


def _sent(request: httpx.Request, auth: httpx.Auth | None) -> dict[str, Any]:
    deadline = time.monotonic() + _SECONDS
    try:
        answer = _client().send(request, auth=auth, stream=True)
        try:
            raw = _body(answer, deadline)
        finally:
            answer.close()
        document = json.loads(raw)
    except (httpx.HTTPError, ValueError, RecursionError) as error:
        raise _failed(request, type(error).__name__) from error
    if 400 <= answer.status_code < 500 and request.method == "POST":
        log.warning("provider_refused", host=request.url.host, status=answer.status_code)
        raise ProviderRefused("The provider refused this sign-in. Start again.")
    if answer.status_code != 200 or not isinstance(document, dict):
        raise _failed(request, f"status {answer.status_code}")
    return document


def _body(answer: httpx.Response, deadline: float) -> bytes:
    raw = b""
    for part in answer.iter_raw():
        raw += part
        if len(raw) > _LONGEST or time.monotonic() > deadline:
            raise httpx.ReadError("too long")
    return raw


def _failed(request: httpx.Request, reason: str) -> ProviderUnavailable:
    log.warning("provider_failed", host=request.url.host, path=request.url.path, reason=reason)
    return ProviderUnavailable("The provider does not answer as it should. Try again later.")
