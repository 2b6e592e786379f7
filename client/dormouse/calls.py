"""What a resource asks the transport to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any  # a body is JSON
from urllib.parse import quote


@dataclass(frozen=True)
class Call:
    """One HTTP call. `signed=False` sends no credential; `timeout` overrides the client's.

    `repeatable`: the server knows a repetition by its `Idempotency-Key`, and does nothing twice.
    """

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    signed: bool = True
    repeatable: bool = False


def segment(id: str) -> str:
    """`id` as one part of a path."""
    if not id or id in (".", ".."):
        raise ValueError(f"{id!r} is not an id")
    return quote(id, safe="")
