"""Every error that a caller of the control plane can see. Mapped to HTTP once, in `app.py`.

PlatformError                  500  internal_error
├── InvalidValue               422  invalid_value
│   ├── MissingParameter       422  missing_required_parameter
│   ├── UnknownParameter       422  unknown_parameter
│   ├── InvalidJson            400  invalid_json
│   ├── InvalidCursor          400  invalid_cursor
│   ├── InvalidOneTimeToken    400  invalid_token
│   ├── IdempotencyKeyReused   422  idempotency_key_reused
│   ├── StreamNotAsync         400  stream_not_async
│   ├── WebhookSecretMissing   422  webhook_secret_missing
│   └── BodyTooLarge           413  body_too_large
├── NotAuthenticated           401  invalid_api_key
│   ├── MissingCredentials     401  missing_credentials
│   ├── InvalidCredentials     401  invalid_credentials
│   │   └── ReplayedToken      401  invalid_credentials  (what it wrote is kept)
│   └── CodeRequired           401  second_factor_required
├── NotPermitted               403  forbidden
│   ├── SessionRequired        403  session_required
│   ├── KeyRestricted          403  key_restricted
│   ├── SecondFactorRequired   403  second_factor_required
│   ├── AccountNotActive       403  account_not_active
│   ├── EmailNotVerified       403  email_not_verified
│   ├── ProviderRefused        403  provider_refused
│   └── RegistrationClosed     403  invitation_required
├── NotFound                   404  not_found
│   └── ModelNotFound          404  model_not_found
├── MethodNotAllowed           405  method_not_allowed
├── AlreadyExists              409  already_exists
│   └── EmailTaken             409  email_taken
├── Conflict                   409  conflict
│   ├── LinkByHand             409  link_by_hand
│   ├── LimitReached           409  limit_reached
│   └── IdempotencyInProgress  409  idempotency_in_progress
├── TooManyAttempts            429  too_many_attempts
├── TooManyRequestsOpen        429  too_many_requests_open
│   └── RequestsTakeTooMuch    429  requests_take_too_much
├── InsufficientStorage        507  insufficient_storage
└── Unavailable                503  control_plane_unavailable
    ├── ProviderUnavailable    503  provider_unavailable
    └── Busy                   503  busy
"""

from typing import Any  # the body is JSON


class PlatformError(Exception):
    """Its text is shown to the caller, so it holds nothing that is not theirs to know."""

    status = 500
    code = "internal_error"
    type = "server_error"
    retry_after: int | None = None
    keeps_writes = False

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def body(self) -> dict[str, Any]:
        """OpenAI's error shape."""
        found = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": found}

    def headers(self) -> dict[str, str]:
        return {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}


class InvalidValue(PlatformError):
    status = 422
    code = "invalid_value"
    type = "invalid_request_error"


class MissingParameter(InvalidValue):
    code = "missing_required_parameter"


class UnknownParameter(InvalidValue):
    code = "unknown_parameter"


class InvalidJson(InvalidValue):
    status = 400
    code = "invalid_json"


class InvalidCursor(InvalidValue):
    status = 400
    code = "invalid_cursor"


class InvalidOneTimeToken(InvalidValue):
    status = 400
    code = "invalid_token"


class IdempotencyKeyReused(InvalidValue):
    code = "idempotency_key_reused"


class BodyTooLarge(InvalidValue):
    status = 413
    code = "body_too_large"


class StreamNotAsync(InvalidValue):
    status = 400
    code = "stream_not_async"


class WebhookSecretMissing(InvalidValue):
    code = "webhook_secret_missing"


class NotAuthenticated(PlatformError):
    status = 401
    code = "invalid_api_key"
    type = "authentication_error"

    def headers(self) -> dict[str, str]:
        return {"www-authenticate": "Bearer"}


class MissingCredentials(NotAuthenticated):
    code = "missing_credentials"


class InvalidCredentials(NotAuthenticated):
    code = "invalid_credentials"


class ReplayedToken(InvalidCredentials):
    """The session was ended because of it, which must be kept although the request failed."""

    keeps_writes = True


class CodeRequired(NotAuthenticated):
    """The password was right, and a code of the second factor is missing or wrong."""

    code = "second_factor_required"


class NotPermitted(PlatformError):
    status = 403
    code = "forbidden"
    type = "permission_error"


class SessionRequired(NotPermitted):
    code = "session_required"


class KeyRestricted(NotPermitted):
    code = "key_restricted"


class SecondFactorRequired(NotPermitted):
    code = "second_factor_required"


class AccountNotActive(NotPermitted):
    code = "account_not_active"


class EmailNotVerified(NotPermitted):
    code = "email_not_verified"


class ProviderRefused(NotPermitted):
    """The OpenID provider said no, or what it said cannot be trusted."""

    code = "provider_refused"


class RegistrationClosed(NotPermitted):
    code = "invitation_required"


class NotFound(PlatformError):
    status = 404
    code = "not_found"
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    code = "model_not_found"


class MethodNotAllowed(PlatformError):
    status = 405
    code = "method_not_allowed"
    type = "invalid_request_error"


class AlreadyExists(PlatformError):
    status = 409
    code = "already_exists"
    type = "invalid_request_error"


class EmailTaken(AlreadyExists):
    code = "email_taken"


class Conflict(PlatformError):
    status = 409
    code = "conflict"
    type = "invalid_request_error"


class LinkByHand(Conflict):
    """An account with this address is there, but nobody proved yet that it is the same person's."""

    code = "link_by_hand"


class LimitReached(Conflict):
    code = "limit_reached"


class IdempotencyInProgress(Conflict):
    code = "idempotency_in_progress"
    retry_after = 1


class TooManyAttempts(PlatformError):
    status = 429
    code = "too_many_attempts"
    type = "rate_limit_error"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyRequestsOpen(PlatformError):
    status = 429
    code = "too_many_requests_open"
    type = "rate_limit_error"
    retry_after = 10


class RequestsTakeTooMuch(TooManyRequestsOpen):
    """Those that have ended count too: deleting them makes room."""

    code = "requests_take_too_much"
    retry_after = 60


class InsufficientStorage(PlatformError):
    status = 507
    code = "insufficient_storage"
    retry_after = 60


class Unavailable(PlatformError):
    status = 503
    code = "control_plane_unavailable"
    retry_after = 1


class ProviderUnavailable(Unavailable):
    code = "provider_unavailable"
    retry_after = 5


class Busy(Unavailable):
    code = "busy"
