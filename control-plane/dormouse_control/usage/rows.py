"""From a usage event to the row of the call, priced."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any  # an event is JSON until it is checked

from dormouse.catalog import Catalog
from dormouse.events import EventError, UsageEvent, from_cloudevent
from dormouse.prices import cost_nano
from dormouse_control.identity.models import UserStatus
from dormouse_control.ledger.pricing import Priced, priced
from dormouse_control.usage.operations import NOBODYS

COLUMNS = (
    "request_id",
    "time",
    "user_id",
    "credential",
    "service",
    "model",
    "version",
    "endpoint",
    "outcome",
    "prompt_tokens",
    "completion_tokens",
    "duration_ms",
    "queue_ms",
    "load_ms",
    "cold_start_ms",
    "end_user",
    "cost_nano",
    "received_at",
    "compute_ms",
    "gpus",
    "audio_ms",
    "images",
    "loads",
    "lease_id",
    "predictor",
    "estimated",
    "tags",
    "prices_id",
)

_DEAREST = 10**16
"""Ten millions of the currency for one call: sums of many still fit into the database."""

_LONGEST = (
    ("request_id", 128),
    ("credential", 30),
    ("service", 64),
    ("model", 128),
    ("version", 128),
    ("endpoint", 64),
    ("lease", 64),
    ("predictor", 64),
)
_LONGEST_END_USER = 512


@dataclass(frozen=True)
class Call:
    """`values` in the order of `COLUMNS`; beside them what books the call. `at` is when it counts:
    when it ended, but never in the future. `nano` are billionths of the currency.
    """

    request_id: str
    at: datetime
    user_id: str
    credential: str
    lease: str | None
    nano: int
    values: list[Any]


@dataclass
class Reader:
    """Makes rows of events; `used` collects the prices by which they were charged.

    `last` tells the last prices of a service that is in the catalogue no more; `tags` are those of
    keys.
    """

    catalog: Catalog
    last: Callable[[str], Priced | None]
    users: Mapping[str, UserStatus]
    tags: Mapping[str, Mapping[str, str]]
    now: datetime
    used: dict[str, Priced] = field(default_factory=dict)

    def row(self, document: Any) -> Call:
        """Raises `EventError` saying what is wrong."""
        event = from_cloudevent(document)
        for name, longest in _LONGEST:
            value = getattr(event, name)
            if value is not None and len(value) > longest:
                raise EventError(f"{name} has more than {longest} characters")
        if event.user not in self.users:
            raise EventError("user is unknown")
        prices = self._priced(event.service)
        nano = cost_nano(prices.prices, event)
        if nano > _DEAREST:
            raise EventError("the cost is too large to be stored")
        return self._row(event, prices.id, nano)

    def _priced(self, service: str) -> Priced:
        found = self.used.get(service)
        if found is None:
            known = self.catalog.services.get(service)
            found = priced(known.spec.prices) if known else self.last(service)
            if found is None:
                raise EventError("service is unknown")
            self.used[service] = found
        return found

    def _row(self, event: UsageEvent, prices_id: str, nano: int) -> Call:
        time = _time(event.time)
        credential, end_user, tags = event.credential, event.end_user, event.tags
        if self.users[event.user] is UserStatus.ERASED:
            # They still have to be accounted for, without anything personal.
            credential, end_user, tags = NOBODYS, None, {}
        elif credential in self.tags:
            tags = {**self.tags[credential], **tags}
        return Call(
            request_id=event.request_id,
            at=min(time, self.now),
            user_id=event.user,
            credential=credential,
            lease=event.lease,
            nano=nano,
            values=[
                event.request_id,
                time,
                event.user,
                credential,
                event.service,
                event.model,
                event.version,
                event.endpoint,
                event.outcome,
                event.prompt_tokens,
                event.completion_tokens,
                event.duration_ms,
                event.queue_ms,
                event.load_ms,
                event.cold_start_ms,
                end_user[:_LONGEST_END_USER] if end_user else None,
                nano,
                self.now,
                event.compute_ms,
                event.gpus,
                event.audio_ms,
                event.images,
                1 if event.load_ms else 0,
                event.lease,
                event.predictor,
                event.estimated,
                dict(sorted(tags.items())) if tags else None,
                prices_id,
            ],
        )


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError as error:
        raise EventError("time is out of range") from error
