"""Errors of a predictor, in OpenAI's shape, and nothing else.

CallError                what a caller is told: status, code, text, field
Cancelled                nobody waits for this call any more
WeightsError             weights cannot be found, fetched or trusted
"""

import math
from typing import Any  # JSON

from dormouse.error_types import type_of


class CallError(Exception):
    """A call cannot be answered; `code` is stable, `message` is safe to show."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": type_of(self.status),
                "param": self.param,
                "code": self.code,
            }
        }


class Cancelled(Exception):
    """The caller hung up or lost the right to call, or the call ran out of time."""


class WeightsError(Exception):
    """The text says which source and why; it is shown to operators."""


def invalid(param: str | None, message: str) -> CallError:
    return CallError(400, "invalid_value", message, param=param)


def unsupported(param: str, message: str) -> CallError:
    return CallError(400, "unsupported_parameter", message, param=param)


def too_long(param: str, context: int, asked: str) -> CallError:
    return CallError(
        400,
        "context_length_exceeded",
        f"This model's maximum context length is {context} tokens; {asked}.",
        param=param,
    )


def access_revoked() -> CallError:
    return CallError(403, "access_revoked", "The right to make this call was taken away.")


def access_expired() -> CallError:
    return CallError(403, "access_expired", "The right to make this call has come to its end.")


def queue_full(message: str, *, wait: float) -> CallError:
    """`wait` in seconds."""
    return CallError(429, "queue_full", message, retry_after=max(1, math.ceil(wait)))


def stopping() -> CallError:
    return queue_full("This predictor is being stopped; try again.", wait=1)


def overloaded() -> CallError:
    text = "More calls arrive than can be answered in time. Try again."
    return CallError(503, "overloaded", text, retry_after=1)


def timeout() -> CallError:
    return CallError(504, "timeout", "The call took longer than this service allows.")


def internal() -> CallError:
    """What a caller learns about a defect of ours; the log has the rest."""
    return CallError(500, "internal_error", "The model failed while answering this call.")
