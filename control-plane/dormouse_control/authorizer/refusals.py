"""The authorizer's answers that end a call, in OpenAI's error shape."""

import json
import math
from dataclasses import dataclass

from dormouse.error_types import type_of

# Envoy takes a 5xx of its authorizer for a failed check and answers in its own words. So ours
# travel as statuses that mean nothing else, and the gateway puts the right one back.
WIRE_STATUS = {500: 460, 503: 463}


@dataclass(eq=False)
class Refusal(Exception):
    status: int
    code: str
    message: str
    param: str | None = None
    retry_after: int | None = None
    limits: str | None = None
    """What the caller may still do, as `accounting.shortage.limits_header` writes it."""

    def body(self) -> bytes:
        error = {
            "message": self.message,
            "type": type_of(self.status),
            "param": self.param,
            "code": self.code,
        }
        return json.dumps({"error": error}).encode()


def missing_credentials(message: str) -> Refusal:
    return Refusal(401, "missing_credentials", message)


def invalid_credentials() -> Refusal:
    return Refusal(
        401, "invalid_api_key", "The API key or access token is wrong, expired or revoked."
    )


def model_not_found(name: str) -> Refusal:
    return Refusal(
        404, "model_not_found", f"There is no model {name!r}. GET /v1/models lists them.", "model"
    )


def not_entitled(service: str) -> Refusal:
    return Refusal(
        403,
        "not_entitled",
        f"You are not entitled to the service {service!r}. Ask for it with POST "
        f'/api/v1/entitlements {{"service": "{service}"}}.',
    )


def key_restricted(what: str) -> Refusal:
    return Refusal(403, "key_restricted", f"This API key is not for the {what}.")


def rate_limited(per_minute: int, *, wait: float) -> Refusal:
    return Refusal(
        429,
        "rate_limited",
        f"More than {per_minute} requests a minute.",
        retry_after=max(1, math.ceil(wait)),
    )


def tokens_limited(per_minute: int, *, wait: float) -> Refusal:
    return Refusal(
        429,
        "tokens_limited",
        f"More than {per_minute} tokens a minute, prompts and answers together.",
        retry_after=max(1, math.ceil(wait)),
    )


def too_many_at_once(limit: int) -> Refusal:
    return Refusal(
        429, "too_many_at_once", f"More than {limit} calls at the same time.", retry_after=1
    )


def budget_reserved() -> Refusal:
    return Refusal(
        429,
        "budget_reserved",
        "What is left of the budget is set aside for other calls. Try again when one has ended.",
        retry_after=1,
    )


def insufficient_quota() -> Refusal:
    return Refusal(
        402,
        "insufficient_quota",
        "The budget of this API key or of your account is spent.",
    )


def no_gpu() -> Refusal:
    return Refusal(
        402,
        "insufficient_quota",
        "So much of the budget is spent that it pays for no service on a GPU any more.",
    )


def body_too_large(most: int) -> Refusal:
    return Refusal(413, "body_too_large", f"The body may have {most} bytes.")


def too_many_waiting(limit: int) -> Refusal:
    return Refusal(429, "queue_full", f"{limit} calls of yours are waiting already.", retry_after=1)


def nest_unavailable() -> Refusal:
    return Refusal(503, "unavailable", "The platform is restarting.", retry_after=1)


def no_predictor(code: str, message: str, *, wait: int | None) -> Refusal:
    """In the nest's own words; `wait` in seconds, None if there is no use in trying again."""
    status = 429 if code == "queue_full" else 503
    return Refusal(status, code, message, retry_after=None if wait is None else max(1, wait))


def overloaded() -> Refusal:
    return Refusal(
        503, "overloaded", "More calls arrive than can be answered. Try again.", retry_after=1
    )


def control_plane_unavailable() -> Refusal:
    return Refusal(
        503,
        "control_plane_unavailable",
        "Credentials cannot be checked at the moment. Try again shortly.",
        retry_after=1,
    )


_MODEL_ERRORS = {
    "missing": ("missing_required_parameter", "The body has no text field 'model'."),
    "invalid_json": ("invalid_json", "The body is not a JSON object."),
    "duplicate": ("invalid_value", "The body has more than one field 'model'."),
}


def no_model(reason: str) -> Refusal:
    if reason == "bad_name":
        return Refusal(
            404,
            "model_not_found",
            "There is no such model: names have letters, digits and . _ : / - only, at most 128.",
            "model",
        )
    code, message = _MODEL_ERRORS.get(reason, _MODEL_ERRORS["missing"])
    return Refusal(400, code, message, "model")
