"""Whose tokens are read next, and how many: what the calls of a context share."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dormouse_predictors.base import Computation
from dormouse_predictors.engines.llama_answers import Steps
from dormouse_predictors.engines.llama_context import BATCH

STEP_SECONDS = 0.25
"""A step with prompts is about so long: who makes an answer waits for it, and who cancels."""

LEAST = 32
"""Fewer tokens at a time would be read much slower: eight cost half of what these do."""

PATIENCE = 8
"""After so many turns of more urgent prompts one that is less urgent has one too."""

_SMOOTHING = 0.3


@dataclass(eq=False)
class Slot:
    """`tokens` is what the model has read of the sequence, `unread` what it is to read next; `used`
    says when it last had a turn, counted in turns.
    """

    number: int
    owner: str | None = None
    tokens: list[int] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)
    answering: bool = False
    call: Computation | None = None
    steps: Steps | None = None
    used: int = 0

    @property
    def length(self) -> int:
        """Of its sequence once all is read."""
        return len(self.tokens) + len(self.unread)


class Pace:
    """How many tokens of prompts a step may read, learned from how long steps take."""

    def __init__(self) -> None:
        self._per_second = 0.0

    def room(self) -> int:
        if not self._per_second:
            return 2 * LEAST
        return max(LEAST, min(BATCH, int(self._per_second * STEP_SECONDS)))

    def learn(self, tokens: int, seconds: float) -> None:
        if tokens >= LEAST and seconds > 0:
            found = tokens / seconds
            known = self._per_second or found
            self._per_second = known + _SMOOTHING * (found - known)


def shares(prompts: Sequence[Slot], room: int) -> list[tuple[Slot, int]]:
    """How many tokens of which prompts to read, of about `room`. Never leaves a single one.

    The more urgent come first. Those alike have equal parts, or turns where these would be less
    than `LEAST`, which is also what one gets that has lost patience.
    """
    found: list[tuple[Slot, int]] = []
    late = _late(prompts)
    if late is not None:
        found.append((late, _part(late, LEAST)))
        room -= found[-1][1]
    for priority in sorted({_priority(slot) for slot in prompts}):
        alike = [slot for slot in prompts if _priority(slot) == priority and slot is not late]
        alike.sort(key=lambda slot: (slot.used, len(slot.unread)))
        for done, slot in enumerate(alike):
            count = _part(slot, max(LEAST, room // (len(alike) - done)))
            if count <= room:
                found.append((slot, count))
                room -= count
    return found


def _late(prompts: Sequence[Slot]) -> Slot | None:
    """Whose turn it is although others are more urgent."""
    longest = min(prompts, key=lambda slot: slot.used, default=None)
    if longest is None or _priority(longest) == min(map(_priority, prompts)):
        return None
    return longest if max(slot.used for slot in prompts) - longest.used >= PATIENCE else None


def _part(slot: Slot, most: int) -> int:
    length = len(slot.unread)
    count = min(length, most)
    return count - 1 if length > 1 and length - count == 1 else count


def _priority(slot: Slot) -> int:
    return slot.call.priority if slot.call is not None else 0
