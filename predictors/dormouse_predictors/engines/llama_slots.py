"""Continuous batching: the sequences of one context, and what each of them reads in a step.

Every call has a slot, a sequence of its own. In a step all calls that make an answer read their
last token, together; then prompts share what room the step has: the more urgent first, those alike
in equal parts, none waiting for ever, and each by itself, for it is computed otherwise, in its last
bits, if it is read with other calls' tokens or one token at a time. A slot keeps what it has read
when its call ends, so that the next call of the same owner need not read the same beginning again.
It never serves another owner.
"""

import time
from collections.abc import Callable

from dormouse_predictors.base import Computation
from dormouse_predictors.engines.llama_answers import Read, Steps, Wish
from dormouse_predictors.engines.llama_context import LlamaContext, NoRoom, Part
from dormouse_predictors.engines.llama_turns import LEAST, Pace, Slot, shares
from dormouse_predictors.errors import CallError, Cancelled


class Slots:
    """Of one model, in its context. `clock` counts seconds."""

    def __init__(
        self, context: LlamaContext, count: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = context
        self._slots = [Slot(number) for number in range(count)]
        self._pace = Pace()
        self._clock = clock
        self._turns = 0

    def __len__(self) -> int:
        return len(self._slots)

    def running(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.call is not None]

    def begin(self, call: Computation, prompt: list[int], steps: Steps) -> None:
        """`prompt` is what the call reads first. There must be a slot that is free."""
        slot = self._choose(call.owner, prompt)
        if slot.owner != call.owner:
            self._forget(slot)
        slot.owner, slot.call, slot.steps = call.owner, call, steps
        self._turn(slot)
        self._advance(slot, None)

    def step(self) -> None:
        for slot in self.running():
            if slot.call is not None and slot.call.meter.cancelled:
                self._end(slot, Cancelled())
        self._make_room()
        answering = [slot for slot in self.running() if slot.answering]
        prompts = [slot for slot in self.running() if not slot.answering]
        if answering:
            self._read([(slot, 1) for slot in answering])
        for slot, count in shares(prompts, self._pace.room()):
            began = self._clock()
            self._read([(slot, count)])
            self._pace.learn(count, self._clock() - began)
            self._turn(slot)

    def _make_room(self) -> None:
        """For what is to be read in this step. Whose call has no room ends; others go on."""
        wanted = max((slot.length for slot in self.running()), default=0)
        if self._context.holds(wanted):
            return
        try:
            self._context.grow(wanted, [slot.number for slot in self._slots if slot.tokens])
        except NoRoom as error:
            text = f"There is no memory for a longer context: {error}."
            for slot in self.running():
                if not self._context.holds(slot.length):
                    self._end(slot, CallError(503, "insufficient_memory", text, retry_after=5))

    def _read(self, parts: list[tuple[Slot, int]]) -> None:
        self._context.decode(
            [Part(slot.number, len(slot.tokens), slot.unread[:count]) for slot, count in parts]
        )
        last = -1
        for slot, count in parts:
            last += count
            slot.tokens += slot.unread[:count]
            del slot.unread[:count]
            if not slot.unread:
                self._advance(slot, last)

    def clear(self, error: Exception) -> None:
        """End all calls with this error, and forget what was read."""
        for slot in self._slots:
            self._end(slot, error)
            slot.tokens, slot.owner = [], None
        self._context.forget_all()

    def _choose(self, owner: str, prompt: list[int]) -> Slot:
        """The free slot whose owner's it is and that has read most of it; else the one that nobody
        used for longest. Neighbours are read together, so of new ones the first.
        """
        free = [slot for slot in self._slots if slot.call is None]
        own = [slot for slot in free if slot.owner == owner]
        best = max(own, key=lambda slot: common(slot.tokens, prompt), default=None)
        if best is not None and common(best.tokens, prompt) >= LEAST:
            return best
        return min(free, key=lambda slot: slot.used)

    def _advance(self, slot: Slot, index: int | None) -> None:
        """Let the call go on to what it wants to be read next, or to its end."""
        assert slot.steps is not None
        try:
            wish = next(slot.steps) if index is None else slot.steps.send(index)
            self._grant(slot, wish)
        except StopIteration:
            self._end(slot, None)
        except Exception as error:
            # What is wrong with one call is not wrong with those beside it.
            self._end(slot, error)

    def _turn(self, slot: Slot) -> None:
        self._turns += 1
        slot.used = self._turns

    def _grant(self, slot: Slot, wish: Wish) -> None:
        if isinstance(wish, Read):
            # The last one is always read again, for the logits after it, and not alone.
            keep = max(0, min(common(slot.tokens, wish.tokens), len(wish.tokens) - 2))
            if keep < len(slot.tokens) and not self._context.forget_after(slot.number, keep):
                self._forget(slot)
                keep = 0
            del slot.tokens[keep:]
            slot.unread, slot.answering = wish.tokens[keep:], False
        else:
            slot.unread, slot.answering = [wish], True

    def _end(self, slot: Slot, error: Exception | None) -> None:
        call, steps = slot.call, slot.steps
        slot.call = slot.steps = None
        slot.unread = []
        if steps is not None:
            steps.close()
        if call is not None:
            call.end(error)

    def _forget(self, slot: Slot) -> None:
        self._context.forget(slot.number)
        slot.tokens = []


def common(known: list[int], wanted: list[int]) -> int:
    """How many tokens both begin with."""
    low, high = 0, min(len(known), len(wanted))
    while low < high:  # slices are compared much faster than tokens one by one
        middle = (low + high + 1) // 2
        if known[low:middle] == wanted[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
