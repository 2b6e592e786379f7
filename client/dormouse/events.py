"""The usage event: what a predictor reports after a call, as a CloudEvent 1.0 in JSON.

Its id is the request id, so that the control plane can settle a call once whatever is retried.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal, get_args  # an event is JSON until it is checked

EVENT_TYPE = "dev.dormouse.usage.v1"

Outcome = Literal["completed", "cancelled", "failed", "revoked"]
"""`cancelled`: the caller hung up or time ran out; `revoked`: the right to call was taken away."""

_OUTCOMES = get_args(Outcome)


class EventError(ValueError):
    """The document is not a usage event."""


@dataclass(frozen=True)
class UsageEvent:
    """One call. `time` in RFC 3339, durations in ms; tokens are counted where they are made.

    `compute_ms` is the engine's time for it, on `gpus` GPUs; `audio_ms` how much sound went in or
    came out. `lease` is the piece of a budget that pays (`InternalClaims.lease`), `predictor` the
    process that answered. `estimated`: it died meanwhile, and this is what it is known to have done
    and half a second's worth more.
    """

    request_id: str
    time: str
    user: str
    credential: str
    service: str
    model: str
    endpoint: str
    outcome: Outcome
    prompt_tokens: int
    completion_tokens: int
    duration_ms: int
    queue_ms: int = 0
    load_ms: int = 0
    cold_start_ms: int = 0
    version: str | None = None
    end_user: str | None = None
    compute_ms: int = 0
    gpus: int = 0
    audio_ms: int = 0
    images: int = 0
    lease: str | None = None
    predictor: str | None = None
    estimated: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


_NUMBERS = tuple(
    each.name
    for each in fields(UsageEvent)
    if each.name.endswith(("_tokens", "_ms")) or each.name in ("gpus", "images")
)

MAX_TAGS = 16
TAG_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
MAX_TAG_VALUE = 64
MAX_END_USER = 512


def to_cloudevent(event: UsageEvent) -> dict[str, Any]:
    data = dict(vars(event))  # `asdict` copies deeply, and takes three times as long
    data["tags"] = dict(event.tags)
    if event.end_user is not None:  # callers write what they want there
        data["end_user"] = event.end_user[:MAX_END_USER]
    identity = {name: data.pop(name) for name in ("request_id", "time", "user", "service")}
    return {
        "specversion": "1.0",
        "type": EVENT_TYPE,
        "source": f"/services/{identity['service']}",
        "id": identity["request_id"],
        "time": identity["time"],
        "subject": identity["user"],
        "datacontenttype": "application/json",
        "data": data,
    }


def from_cloudevent(document: Any) -> UsageEvent:
    """Raises `EventError` naming what is wrong."""
    try:
        if document["specversion"] != "1.0" or document["type"] != EVENT_TYPE:
            raise EventError(f"not a {EVENT_TYPE} event of CloudEvents 1.0")
        event = UsageEvent(
            request_id=document["id"],
            time=document["time"],
            user=document["subject"],
            service=_service(document["source"]),
            **document["data"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise EventError(f"incomplete event: {error}") from error
    event = _without_unreadable(event)
    _check(event)
    return event


def _without_unreadable(event: UsageEvent) -> UsageEvent:
    """What callers wrote and nothing is counted by must not keep a call from being charged."""
    if event.end_user is not None and not _is_text(event.end_user):
        event = replace(event, end_user=None)
    return event if are_tags(event.tags) else replace(event, tags={})


def _service(source: str) -> str:
    prefix, service = source[: len("/services/")], source[len("/services/") :]
    if prefix != "/services/":
        raise EventError("source does not name a service")
    return service


def _check(event: UsageEvent) -> None:
    for name in ("request_id", "time", "user", "credential", "service", "model", "endpoint"):
        if not _is_text(getattr(event, name)) or not getattr(event, name):
            raise EventError(f"{name} is not a text")
    for name in ("version", "lease", "predictor"):
        if getattr(event, name) is not None and not _is_text(getattr(event, name)):
            raise EventError(f"{name} is not a text")
    if not _is_time(event.time):
        raise EventError("time is not in RFC 3339 with an offset")
    for name in _NUMBERS:
        value = getattr(event, name)
        if type(value) is not int or not 0 <= value < 2**53:
            raise EventError(f"{name} is not a whole number from 0")
    if event.outcome not in _OUTCOMES:
        raise EventError(f"outcome is none of {', '.join(_OUTCOMES)}")
    if type(event.estimated) is not bool:
        raise EventError("estimated is not true or false")


def are_tags(tags: object) -> bool:
    """Names of letters, digits and hyphens, with printable values; not too many of them."""
    return (
        isinstance(tags, Mapping)
        and len(tags) <= MAX_TAGS
        and all(isinstance(name, str) and TAG_NAME.fullmatch(name) for name in tags)
        and all(
            _is_text(value) and 0 < len(value) <= MAX_TAG_VALUE and value.isprintable()
            for value in tags.values()
        )
    )


def _is_text(value: object) -> bool:
    """A text that every database takes: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str) or "\0" in value:
        return False
    if value.isascii():  # nearly all are, and this is quick
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).utcoffset() is not None
    except ValueError:
        return False
