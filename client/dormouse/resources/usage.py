"""`client.usage`: your calls and what they cost. `client.admin.usage`: everybody's."""

from collections.abc import Mapping, Sequence
from typing import IO, Any, Literal, TypedDict, Unpack  # Any: a query's values

from dormouse.answers import build
from dormouse.calls import Call
from dormouse.transport import Transport
from dormouse.types import UsageGroups, UsagePage


class UsageFilters(TypedDict, total=False):
    """`since` and `until`: a day, which is included, or a time. `tags`: NAME, or NAME:VALUE.

    `user` is for `client.admin.usage`.
    """

    key_id: str | None
    service: str | None
    model: str | None
    tags: Sequence[str]
    since: str | None
    until: str | None
    user: str | None


class Usage:
    def __init__(self, transport: Transport, path: str = "/api/v1/usage") -> None:
        self._transport = transport
        self._path = path

    def list(
        self,
        *,
        limit: int | None = None,
        after: str | None = None,
        **filters: Unpack[UsageFilters],
    ) -> UsagePage:
        """A page of `limit` calls, newest first; iterating reads the following pages too."""
        query = {**_query(filters), "limit": limit, "after": after}
        found = self._transport.send(Call("GET", self._path, query=query)).data
        turn = lambda cursor: self.list(limit=limit, after=cursor, **filters)  # noqa: E731 - shorter
        return build(UsagePage, found, turn=turn)

    def totals(
        self, *by: str, after: str | None = None, **filters: Unpack[UsageFilters]
    ) -> UsageGroups:
        """Sums by up to four of hour, day, month, user, key, service, model and tag:NAME."""
        query = {**_query(filters), "group_by": by or ("day",), "limit": 200, "after": after}
        found = self._transport.send(Call("GET", f"{self._path}/totals", query=query)).data
        turn = lambda cursor: self.totals(*by, after=cursor, **filters)  # noqa: E731 - shorter
        return build(UsageGroups, found, turn=turn)

    def export(
        self,
        file: IO[bytes],
        *,
        format: Literal["csv", "parquet"] = "csv",
        granularity: Literal["hour", "call"] = "hour",
        **filters: Unpack[UsageFilters],
    ) -> None:
        """Written to `file`: sums by hour, or every call."""
        query = {**_query(filters), "format": format, "granularity": granularity}
        self._transport.save(Call("GET", f"{self._path}/export", query=query), file)


def _query(filters: Mapping[str, Any]) -> dict[str, Any]:
    names = {"since": "from", "until": "to", "tags": "tag"}
    return {names.get(name, name): value for name, value in filters.items()}
