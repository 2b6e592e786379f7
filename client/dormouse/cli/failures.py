"""What went wrong, in one line, and what to do next."""

import os

from dormouse.cli.output import printable
from dormouse.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ConflictError,
    DormouseError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    SignInError,
)

_SIGN_INS = {
    "account_not_active": "Your account waits for approval, or was disabled.",
    "email_not_verified": "Verify your e-mail address at the provider first.",
    "invitation_required": "There is no account for you. Ask for an invitation.",
    "link_by_hand": "Sign in by your password and link the provider to your account.",
}


def explain(error: DormouseError, *, service: str = "SERVICE") -> str:
    """`service` is the one that was called, where that is known."""
    code = error.code or _status_code(error)
    message = " ".join(printable(error.message).split())
    return f"dormouse: {message.removesuffix('.')} ({code}). {_next(error, service)}".rstrip()


def _status_code(error: DormouseError) -> str:
    return f"http_{error.status_code}" if isinstance(error, APIStatusError) else "error"


def _next(error: DormouseError, service: str) -> str:
    if isinstance(error, APIConnectionError) and "CERTIFICATE_VERIFY_FAILED" in error.message:
        return "If it is a certificate of your own: export SSL_CERT_FILE=/…/tls.crt"
    if isinstance(error, APIConnectionError):
        return "" if error.connected else "Is the server running? Try: dormouse up"
    if isinstance(error, AuthenticationError):
        return _who(error)
    if isinstance(error, SignInError):
        return _SIGN_INS.get(str(error.code), "Try again.")
    if isinstance(error, PermissionDeniedError):
        return _allowed(error, service)
    if isinstance(error, ConflictError) and error.code == "email_taken":
        return "Try: dormouse login"
    if isinstance(error, NotFoundError) and error.code == "model_not_found":
        return "Try: dormouse services"
    if isinstance(error, InternalServerError) and error.request_id:
        return f"The server's log has it as {error.request_id}."
    if isinstance(error, APIStatusError) and error.retry_after is not None:
        return f"Try again in {error.retry_after:.0f} s."
    return ""


def _allowed(error: PermissionDeniedError, service: str) -> str:
    if error.code == "not_entitled":
        return f"Try: dormouse entitle {service}"
    if error.code == "invitation_required":
        return "Try: dormouse signup --invitation TOKEN"
    return ""


def _who(error: AuthenticationError) -> str:
    if error.code == "invalid_credentials":
        return "Check email and password. A new account may wait for the link in its mail."
    if error.code == "second_factor_required":
        return "Give it with --code."
    if os.environ.get("DORMOUSE_API_KEY"):
        return "Check the environment variable DORMOUSE_API_KEY."
    return "Try: dormouse login, or if you are new: dormouse signup"
