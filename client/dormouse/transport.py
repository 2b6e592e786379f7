"""Sends a call: address, credential, retries, errors. The only module that speaks HTTP, with httpx.

Repeated are: what never reached the server, what it asks for again (Retry-After), and calls that
broke off if they only read or carry an Idempotency-Key, by which the server does nothing twice.
Never: another call whose answer was lost, or a stream that has begun.
"""

import json
import os
import random
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import IO, Any  # a body is JSON
from uuid import uuid4

import httpx

from dormouse.answers import Answer
from dormouse.auth import Anonymous, Credential
from dormouse.calls import Call
from dormouse.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    DormouseError,
    UnexpectedAnswerError,
    status_error,
)
from dormouse.version import __version__

CONNECT_SECONDS = 5.0
LONGEST_WAIT = 60.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Reply:
    data: Any
    headers: Mapping[str, str]


class Transport:
    """Safe to use from several threads."""

    def __init__(
        self,
        root: str,
        *,
        timeout: float,
        max_retries: int,
        http_client: httpx.Client | None = None,
    ) -> None:
        self.root = root
        self.credential: Credential = Anonymous()
        self._timeout = timeout
        self._max_retries = max_retries
        self._http = http_client or httpx.Client(
            limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100),
            # A proxy from the environment cannot reach this machine's own addresses.
            trust_env=httpx.URL(root).host not in _LOOPBACK,
            verify=_certificates(root),
        )

    def send(self, call: Call) -> Reply:
        response = self._open(call, stream=False)
        if response.status_code == 204 or not response.content:
            return Reply(None, response.headers)
        try:
            return Reply(response.json(), response.headers)
        except ValueError as error:
            raise UnexpectedAnswerError(
                f"{call.path} answered something that is not JSON; is {self.root} a Dormouse?"
            ) from error

    def stream(self, call: Call) -> httpx.Response:
        """An answer whose body is still to be read; the caller closes it."""
        return self._open(call, stream=True)

    def save(self, call: Call, file: IO[bytes]) -> None:
        """Write an answer of any length to `file`."""
        response = self._open(call, stream=True)
        try:
            for part in response.iter_bytes():
                file.write(part)
        except httpx.RequestError as error:
            raise self._connection_error(error, call) from error
        finally:
            response.close()

    def close(self) -> None:
        self._http.close()

    def _open(self, call: Call, *, stream: bool) -> httpx.Response:
        attempt = 0
        may_renew = call.signed
        if call.repeatable:
            # Made here, once: every attempt carries the same.
            call = replace(call, headers={"idempotency-key": str(uuid4()), **call.headers})
        while True:
            token = self.credential.token() if call.signed else None
            try:
                response = self._http.send(self._request(call, token), stream=stream)
                if response.is_success:
                    return response
                failure: DormouseError = _status_error(response)
                cause: Exception | None = None
            except httpx.RequestError as error:
                failure, cause = self._connection_error(error, call), error
            if may_renew and _is_stale(failure):
                may_renew = False
                if self.credential.renew(token):
                    continue
            wait = _wait(failure, cause, call=call, attempt=attempt)
            if wait is None or attempt >= self._max_retries:
                raise failure from cause
            time.sleep(wait)
            attempt += 1

    def _request(self, call: Call, token: str | None) -> httpx.Request:
        headers = {
            "accept": "application/json",
            "user-agent": f"dormouse-python/{__version__}",
        }
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        content = None
        if call.body is not None:
            headers["content-type"] = "application/json"
            content = json.dumps(call.body, default=_plain, allow_nan=False).encode()
        return self._http.build_request(
            call.method,
            self.root + call.path,
            params={name: value for name, value in call.query.items() if value is not None},
            headers=headers | dict(call.headers),
            content=content,
            timeout=httpx.Timeout(call.timeout or self._timeout, connect=CONNECT_SECONDS),
        )

    def _connection_error(self, error: httpx.RequestError, call: Call) -> APIConnectionError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            timed_out = isinstance(error, httpx.TimeoutException)
            kind = APITimeoutError if timed_out else APIConnectionError
            return kind(f"cannot connect to {self.root}: {error}", connected=False)
        if isinstance(error, httpx.TimeoutException):
            seconds = call.timeout or self._timeout
            return APITimeoutError(f"no answer from {self.root} within {seconds:g} s")
        return APIConnectionError(f"the connection to {self.root} broke off: {error}")


def root_of(base_url: str) -> str:
    """The server's root: what `base_url` is without the `/v1` that OpenAI's clients need."""
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url {base_url!r}: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url {base_url!r} is not like http://127.0.0.1:5000")
    path = url.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return str(url.copy_with(path=path or "/", query=None, fragment=None)).rstrip("/")


def _certificates(root: str) -> ssl.SSLContext | bool:
    """Whom to believe: `SSL_CERT_FILE` counts for this machine's own addresses too."""
    own = os.environ.get("SSL_CERT_FILE")
    if own is None or not root.startswith("https:"):
        return True
    try:
        return ssl.create_default_context(cafile=own)
    except OSError as error:
        raise ValueError(f"SSL_CERT_FILE {own}: {error}") from error


def _wait(
    failure: DormouseError, cause: Exception | None, *, call: Call, attempt: int
) -> float | None:
    """Seconds until the next attempt; None if there must not be one."""
    if isinstance(failure, APIStatusError):
        if failure.code in ("waking_failed", "model_quarantined"):
            return None  # the platform has tried three times already
        asked = failure.retry_after
        awaited = failure.status_code in (429, 503) or failure.code == "idempotency_in_progress"
        if not awaited or asked is None or asked > LONGEST_WAIT:
            return None
        return asked + _jittered(0.1)
    unsent = isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout)
    harmless = call.method == "GET" or call.repeatable
    broken = harmless and not isinstance(cause, httpx.TimeoutException)
    return _jittered(0.25 * 2**attempt) if unsent or broken else None


def _is_stale(failure: DormouseError) -> bool:
    """Whether the credential was refused, and not a password or code in the body."""
    if not isinstance(failure, APIStatusError) or failure.status_code != 401:
        return False
    return failure.code not in ("invalid_credentials", "second_factor_required")


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1)  # noqa: S311 - spreads callers out, hides nothing


def _status_error(response: httpx.Response) -> APIStatusError:
    try:
        response.read()
    finally:
        response.close()
    try:
        body = response.json()
    except ValueError:
        body = response.text
    return status_error(response.status_code, body, response.headers)


def _plain(value: object) -> object:
    """So that an answer's message can be sent back as it is."""
    if isinstance(value, Answer):
        return value.to_dict()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")
