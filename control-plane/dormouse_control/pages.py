"""Cursors of lists: where the next page begins, bound to who asked for what.

A cursor is the position and a MAC over owner, list, filters and position (ours alone to make), so
an edited, invented or borrowed one is refused before it comes near the database.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from dormouse_control.errors import InvalidCursor
from dormouse_control.sealing import Sealing


@dataclass(frozen=True)
class Cursors:
    """For one list and one caller. `query` holds everything else that shapes the list."""

    sealing: Sealing
    owner: str
    name: str
    query: Mapping[str, str | None]

    def write(self, position: str) -> str:
        """`position` has no dot and only characters that stand in a URL."""
        return f"{position}.{self.sealing.mac('cursor', self._bound(position))}"

    def read(self, cursor: str | None) -> str | None:
        """The position; None for the first page. Raises `InvalidCursor`."""
        if cursor is None:
            return None
        position, _, mac = cursor.rpartition(".")
        if not self.sealing.is_mac("cursor", self._bound(position), mac):
            raise InvalidCursor("`after` is not the `next` of a page of this list.", param="after")
        return position

    def _bound(self, position: str) -> str:
        return json.dumps([self.owner, self.name, sorted(self.query.items()), position])
