"""What the library raises.

    DormouseError
    ├── APIConnectionError            no answer: refused, broken off, or no name by that address
    │   └── APITimeoutError           no answer in time
    ├── APIStatusError                an answer that is an error
    │   ├── BadRequestError           400, 422 and other 4xx: the request is wrong
    │   ├── AuthenticationError       401: no credential, or not a valid one
    │   ├── InsufficientQuotaError    402: the budget is spent
    │   ├── PermissionDeniedError     403: not entitled, or not with this credential
    │   ├── NotFoundError             404: no such model, service, key, …
    │   ├── ConflictError             409: it exists already
    │   ├── RateLimitError            429: too many calls; `retry_after` says when
    │   ├── ServiceUnavailableError   503: cannot be served now; `retry_after` says when
    │   └── InternalServerError       other 5xx: our fault
    ├── UnexpectedAnswerError         an answer that is none of ours: no Dormouse at this address?
    ├── SignInError                   nobody signed in in the browser; `code` says why
    └── CredentialsError              the credentials file cannot be read or written

A stream may raise them too while it is read; what was read before stays valid.
"""

from collections.abc import Mapping
from typing import Any  # an answer's body is whatever the other side sent


class DormouseError(Exception):
    """Everything this library raises on purpose, except ValueError and TypeError for wrong use.

    `code` is stable and for programs, `message` for people.
    """

    code: str | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class APIConnectionError(DormouseError):
    """There was no answer, or it broke off. `connected` says which."""

    code = "connection_failed"

    def __init__(self, message: str, *, connected: bool = True) -> None:
        super().__init__(message)
        self.connected = connected


class APITimeoutError(APIConnectionError):
    """There was no answer in time."""

    code = "timeout"


class UnexpectedAnswerError(DormouseError):
    """The answer is not in Dormouse's form."""

    code = "unexpected_answer"


class SignInError(DormouseError):
    """A sign-in with a browser ended without one."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class CredentialsError(DormouseError):
    """The credentials file cannot be read or written."""

    code = "credentials_file"


class APIStatusError(DormouseError):
    """The answer is an error.

    `param` names the field that is wrong; `retry_after` is in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        details = _details(body)
        headers = headers or {}
        self.status_code = status_code
        self.body = body
        self.code = details.get("code")
        self.param: str | None = details.get("param")
        self.type: str | None = details.get("type")
        self.request_id = headers.get("x-request-id")
        self.retry_after = _seconds(headers.get("retry-after"))


class BadRequestError(APIStatusError):
    """400, 422 and other 4xx."""


class AuthenticationError(APIStatusError):
    """401."""


class InsufficientQuotaError(APIStatusError):
    """402."""


class PermissionDeniedError(APIStatusError):
    """403."""


class NotFoundError(APIStatusError):
    """404."""


class ConflictError(APIStatusError):
    """409."""


class RateLimitError(APIStatusError):
    """429."""


class ServiceUnavailableError(APIStatusError):
    """503."""


class InternalServerError(APIStatusError):
    """Other 5xx."""


_BY_STATUS: dict[int, type[APIStatusError]] = {
    401: AuthenticationError,
    402: InsufficientQuotaError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitError,
    503: ServiceUnavailableError,
}

# An error in the middle of a stream has no status of its own any more.
_STATUS_BY_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "insufficient_quota": 402,
    "permission_error": 403,
    "rate_limit_error": 429,
}


def status_error(status: int, body: object, headers: Mapping[str, str]) -> APIStatusError:
    """The error for an answer; `body` is its JSON, or its text where it is none."""
    if status in _BY_STATUS:
        kind = _BY_STATUS[status]
    elif 400 <= status < 500:
        kind = BadRequestError
    elif status >= 500:
        kind = InternalServerError
    else:
        kind = APIStatusError
    return kind(_message(status, body), status_code=status, body=body, headers=headers)


def stream_error(body: object, headers: Mapping[str, str]) -> APIStatusError:
    """The error for an error event in a stream."""
    return status_error(_STATUS_BY_TYPE.get(_details(body).get("type", ""), 500), body, headers)


def _details(body: object) -> Mapping[str, Any]:
    details = body.get("error") if isinstance(body, dict) else None
    return details if isinstance(details, dict) else {}


def _message(status: int, body: object) -> str:
    message = _details(body).get("message")
    if isinstance(message, str) and message:
        return message
    text = body.strip() if isinstance(body, str) else ""
    return f"the server answered {status}" + (f": {text[:200]}" if text else "")


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
