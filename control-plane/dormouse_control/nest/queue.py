"""Order of the calls that wait for a service: first come, first served, with a bound.

Pure: no clock, no I/O. Priorities come into this module with their own issue; callers only add,
remove and take.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

Waiter = TypeVar("Waiter")


class QueueFull(Exception):
    """As many calls wait as may."""


@dataclass(frozen=True)
class Entry(Generic[Waiter]):
    request_id: str
    model: str
    priority: int
    waiter: Waiter


class Queue(Generic[Waiter]):
    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._entries: OrderedDict[str, Entry[Waiter]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry[Waiter]) -> None:
        """Raises `QueueFull`."""
        if len(self._entries) >= self._bound:
            raise QueueFull
        self._entries[entry.request_id] = entry

    def remove(self, request_id: str) -> None:
        """Somebody hung up; not being there is fine."""
        self._entries.pop(request_id, None)

    def first(self) -> Entry[Waiter] | None:
        return next(iter(self._entries.values()), None)

    def take_all(self) -> list[Entry[Waiter]]:
        found = list(self._entries.values())
        self._entries.clear()
        return found
