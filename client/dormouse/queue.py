"""The order of calls that wait: Algorithm 1 (QUE-02 … QUE-05), with ageing, and users in turns.

Pure: time is handed in. The nest orders with it the calls that wait for a service, a predictor
those that wait for its engine. Four classes, served one after the other: priority 0; priority 1 for
a model that is loaded; priority 1 for another; priority 2. Inside a class first come, first served
for the first call of each user there, and from then on users take turns, so that nobody waits for
all that one other user asked for; a turn in one class is a turn in all. A call that has waited for
`ageing_seconds` counts as one priority more urgent, and so on, so that none waits for ever
(QUE-08).
"""

import math
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Waiter = TypeVar("Waiter")

URGENT, NORMAL, LATER = PRIORITIES = (0, 1, 2)


class QueueFull(Exception):
    """As many calls wait as may."""


class Class(IntEnum):
    """In the order in which they are served."""

    URGENT = 0
    LOADED = 1
    NORMAL = 2
    LATER = 3


@dataclass(frozen=True)
class Entry(Generic[Waiter]):
    """A call that waits. `arrived` is in seconds of the clock that the queue is asked with.

    Raises ValueError for a priority that is none: the algorithm would lose the call.
    """

    request_id: str
    user: str
    model: str
    priority: int
    arrived: float
    waiter: Waiter

    def __post_init__(self) -> None:
        if self.priority not in PRIORITIES:
            raise ValueError(f"priority is {self.priority!r}, not one of {PRIORITIES}")


def class_of(
    entry: Entry[Waiter], loaded: Collection[str], now: float, ageing_seconds: float = math.inf
) -> Class:
    """Where the entry stands now, while the models `loaded` are in memory."""
    aged = entry.priority
    if aged and now - entry.arrived >= ageing_seconds:
        aged -= int((now - entry.arrived) / ageing_seconds)
    if aged <= URGENT:
        return Class.URGENT
    if aged == LATER:
        return Class.LATER
    return Class.LOADED if entry.model in loaded else Class.NORMAL


_Line = tuple[str, str, int, int]
"""Entries of one user, model and priority, none of which arrived before the one in front of it:
whoever stands first is served first. The last number tells several such lines apart."""


class Queue(Generic[Waiter]):
    """At most `bound` entries. Where `bound` is reached, room is shared by users: who has most of
    them gives way to who would still have fewer.
    """

    def __init__(self, bound: int, *, ageing_seconds: float = math.inf) -> None:
        self._bound = bound
        self._ageing = ageing_seconds
        self._entries: OrderedDict[str, Entry[Waiter]] = OrderedDict()
        self._lines: dict[_Line, dict[str, Entry[Waiter]]] = {}
        self._places: dict[str, tuple[int, _Line]] = {}  # request id -> its number
        self._counts: dict[str, int] = {}
        self._turns: dict[str, int] = {}  # since when a user who was served waits for another turn
        self._number = 0  # of what comes next: calls, and turns that end
        # Whose call was taken last: who comes while it runs goes before the next of this user.
        self._served: str | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry[Waiter]]:
        """As they came."""
        return iter(list(self._entries.values()))

    def replan(self, bound: int, *, ageing_seconds: float) -> None:
        """From now on. Nobody who waits already has to go."""
        self._bound = bound
        self._ageing = ageing_seconds

    def of(self, user: str) -> int:
        """How many of a user's wait."""
        return self._counts.get(user, 0)

    def users(self) -> int:
        return len(self._counts)

    def add(self, entry: Entry[Waiter], *, spare: int = 0) -> Entry[Waiter] | None:
        """The entry that gave way, if one had to. `spare` are about to be taken. Raises `QueueFull`
        if this one has to wait for room itself, and ValueError if it waits already.
        """
        if entry.request_id in self._entries:
            raise ValueError(f"{entry.request_id} waits already")
        gone = None
        if len(self._entries) - spare >= self._bound:
            gone = self._last_of_greediest(entry)
            self.remove(gone.request_id)
        self._entries[entry.request_id] = entry
        self._stand_in_line(entry)
        self._counts[entry.user] = self.of(entry.user) + 1
        return gone

    def remove(self, request_id: str) -> bool:
        """Whether it waited: somebody hung up."""
        entry = self._entries.pop(request_id, None)
        if entry is None:
            return False
        _, name = self._places.pop(request_id)
        line = self._lines[name]
        del line[request_id]
        if not line:
            del self._lines[name]
        self._counts[entry.user] -= 1
        if not self._counts[entry.user]:
            del self._counts[entry.user]
            self._turns.pop(entry.user, None)
        return True

    def take(self, loaded: Collection[str], now: float) -> Entry[Waiter]:
        """The next to run. Raises `IndexError` if none waits."""
        entry = self.first(loaded, now)
        if self._served is not None and self.of(self._served):
            self._turns[self._served] = self._next_number()  # behind who came while it ran
        self._served = entry.user
        self.remove(entry.request_id)
        return entry

    def first(self, loaded: Collection[str], now: float) -> Entry[Waiter]:
        """Which `take` would take. Raises `IndexError` if none waits."""
        if not self._entries:
            raise IndexError("nobody waits")
        firsts = [next(iter(line.values())) for line in self._lines.values()]
        if len(firsts) == 1:
            return firsts[0]
        return min(  # of one user's in a class that is who came first
            firsts,
            key=lambda entry: (
                class_of(entry, loaded, now, self._ageing),
                self._turn(entry),
                self._places[entry.request_id],
            ),
        )

    def order(
        self, loaded: Collection[str], now: float, more: Entry[Waiter] | None = None
    ) -> list[Entry[Waiter]]:
        """All as they would be taken from now on, if no time went by and nobody came but `more`."""
        entries: Iterable[Entry[Waiter]] = self._entries.values()
        classes: dict[Class, dict[str, deque[Entry[Waiter]]]] = {}
        for entry in [*entries, *([more] if more is not None else [])]:
            lines = classes.setdefault(class_of(entry, loaded, now, self._ageing), {})
            lines.setdefault(entry.user, deque()).append(entry)
        turns, numbers = dict(self._turns), count(self._number + 2)  # `more` has the one before
        if self._served is not None:
            turns[self._served] = next(numbers)
        found: list[Entry[Waiter]] = []
        for one in sorted(classes):
            self._rotate(classes[one], turns, numbers, found)
        return found

    def ahead_of(self, request_id: str, loaded: Collection[str], now: float) -> int:
        """How many are taken before it. Raises KeyError if it does not wait."""
        return self.order(loaded, now).index(self._entries[request_id])

    def ahead_of_next(self, entry: Entry[Waiter], loaded: Collection[str], now: float) -> int:
        """How many would be taken before `entry`, if it came now."""
        return self.order(loaded, now, entry).index(entry)

    def clear(self) -> list[Entry[Waiter]]:
        """Those that waited, as they came."""
        found = list(self._entries.values())
        for entry in found:
            self.remove(entry.request_id)
        return found

    def _stand_in_line(self, entry: Entry[Waiter]) -> None:
        for number in count():
            name = (entry.user, entry.model, entry.priority, number)
            line = self._lines.setdefault(name, {})
            if not line or next(reversed(line.values())).arrived <= entry.arrived:
                break
        line[entry.request_id] = entry
        self._places[entry.request_id] = (self._next_number(), name)

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _turn(self, entry: Entry[Waiter]) -> float:
        """Since when it waits for its turn: since it came, or since its user's last turn."""
        if entry.user == self._served:
            return math.inf
        return max(self._places[entry.request_id][0], self._turns.get(entry.user, 0))

    def _rotate(
        self,
        lines: Mapping[str, deque[Entry[Waiter]]],
        turns: dict[str, int],
        numbers: Iterator[int],
        found: list[Entry[Waiter]],
    ) -> None:
        """Take turns until the lines of a class are empty; who was served goes to the end."""
        heap = []
        for user, line in lines.items():
            came, _ = self._places.get(line[0].request_id, (self._number + 1, None))
            heap.append((max(came, turns.get(user, 0)), user))
        heapify(heap)
        while heap:
            _, user = heappop(heap)
            found.append(lines[user].popleft())
            turns[user] = next(numbers)
            if lines[user]:
                heappush(heap, (turns[user], user))

    def _last_of_greediest(self, entry: Entry[Waiter]) -> Entry[Waiter]:
        """The least urgent and then youngest of whoever has most. Raises `QueueFull`."""
        greediest = max(self._counts, key=self._counts.__getitem__, default=None)
        if greediest is None or self.of(greediest) <= self.of(entry.user) + 1:
            raise QueueFull
        theirs = [each for each in reversed(self._entries.values()) if each.user == greediest]
        return max(theirs, key=lambda each: each.priority)
