"""What is refused at once: a call that would be refused whenever it is made.

By the authorizer's own rules, on the same document about the caller that it would be given. Limits
on requests, tokens and money are not touched here: they count when the call is made.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from dormouse.events import MAX_TAG_VALUE, MAX_TAGS, are_tags
from dormouse_control.authorizer.permissions import check_call, check_right
from dormouse_control.authorizer.principals import read_principal
from dormouse_control.authorizer.refusals import (
    Refusal,
    invalid_credentials,
    model_not_found,
    no_model,
)
from dormouse_control.authorizer.routes import endpoint_of, read_route
from dormouse_control.errors import InvalidJson, NotFound, StreamNotAsync
from dormouse_control.identity.operations import Caller
from dormouse_control.internal import operations as internal
from dormouse_control.internal.routes import routes
from dormouse_control.internal.schemas import DelegatedQuestion
from dormouse_control.wiring import Platform

TAG = "x-dormouse-tag-"

_LONG = 1024 * 1024
"""Bytes of a body."""

_STREAM = re.compile(rb'"stream"\s*:\s*true')


@dataclass(frozen=True)
class Checked:
    """A call that may be made: `model` is the name that its caller wrote."""

    model: str
    service: str
    endpoint: str


def check(
    reading: Session,
    *,
    caller: Caller,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    platform: Platform,
    now: datetime,
) -> Checked:
    """`headers` are the gateway's. Raises `Refusal` as the authorizer does, or `PlatformError`."""
    name = headers.get("x-dormouse-model")
    if name is None:
        raise no_model(headers.get("x-dormouse-model-error", "missing"))
    found = routes(platform.catalog, platform.settings).get(name)
    if found is None:
        raise model_not_found(name)
    route = read_route(found.model_dump())
    endpoint = endpoint_of(route, name, path)
    question = DelegatedQuestion(kind="delegated", user=caller.id, credential=caller.credential_id)
    try:
        document = internal.principal(reading, question, platform=platform, now=now)
    except NotFound:
        raise invalid_credentials() from None
    principal = read_principal(document.model_dump())
    check_call(principal, route, endpoint, size=len(body))
    check_right(principal, route.service, now=now.timestamp())
    _check_priority(headers)
    _check_tags(headers)
    _check_body(body)
    return Checked(name, route.service, endpoint)


def _check_priority(headers: Mapping[str, str]) -> None:
    if headers.get("x-dormouse-priority", "1") not in ("0", "1", "2"):
        raise Refusal(400, "invalid_value", "x-dormouse-priority must be 0, 1 or 2.", "priority")


def _check_tags(headers: Mapping[str, str]) -> None:
    """As predictors do, to which the bytes of a header are UTF-8."""
    tags = {
        name.removeprefix(TAG): value.encode("latin-1").decode("utf-8", "surrogateescape")
        for name, value in headers.items()
        if name.startswith(TAG)
    }
    if not are_tags(tags):
        raise Refusal(
            400,
            "invalid_value",
            f"A call may have {MAX_TAGS} tags at most, each with a name of at most 32 small"
            f" letters, digits and hyphens, and a printable text of 1 to {MAX_TAG_VALUE}"
            " characters.",
            next((f"{TAG}{name}" for name in tags if not are_tags({name: tags[name]})), None),
        )


def _check_body(body: bytes) -> None:
    """Whether there can be one answer to it; the fields themselves are the predictor's."""
    if _wants_stream(body):
        raise StreamNotAsync(
            "An answer in pieces cannot be fetched later. Leave `stream` out, or `Prefer:"
            " respond-async`.",
            param="stream",
        )


def _wants_stream(body: bytes) -> bool:
    if len(body) > _LONG:
        # Not read into memory, where it takes twenty times as much. Quotes inside of texts are
        # escaped, so this is a key; whoever hides it gets the stream as the text of the result.
        return _STREAM.search(body) is not None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidJson("The body is not JSON.") from None
    if not isinstance(document, dict):
        raise InvalidJson("The body must be a JSON object.")
    return bool(document.get("stream"))
