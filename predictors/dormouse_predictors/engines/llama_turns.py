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

    Those alike have equal parts, or turns where these would be less than `LEAST`.
    """
    found: list[tuple[Slot, int]] = []
    for priority in sorted({_priority(slot) for slot in prompts}):
        alike = [slot for slot in prompts if _priority(slot) == priority]
        alike.sort(key=lambda slot: (slot.used, len(slot.unread)))
        for done, slot in enumerate(alike):
            length = len(slot.unread)
            count = min(length, max(LEAST, room // (len(alike) - done)))
            if length > 1 and length - count == 1:
                count -= 1
            if count <= room:
                found.append((slot, count))
                room -= count
    return found


def _priority(slot: Slot) -> int:
    return slot.call.priority if slot.call is not None else 0
