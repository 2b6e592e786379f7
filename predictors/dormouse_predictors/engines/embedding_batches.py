"""Which texts of which calls are computed together: dynamic batching. Pure.

The more urgent calls first; of those alike each owner gives a text in turn, so that somebody who
sends a thousand does not keep away who sends one. Texts of like length go together, because all are
padded to the longest. A call that is cancelled gives no more, and one that has all its vectors
ends.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from dormouse_predictors.base import Computation, Embedded
from dormouse_predictors.errors import Cancelled

MAX_BATCH = 32
MAX_TOKENS = 2048
"""Padding included; keeps a batch short enough to be cancelled in a second. A text that has more is
computed by itself."""

LIKE = 2
"""A text may be so many times shorter than the longest of its batch."""


@dataclass(eq=False)
class _Open:
    call: Computation
    vectors: list[bytes | None]
    waiting: deque["Text"] = field(default_factory=deque)


@dataclass(frozen=True, eq=False)
class Text:
    """Input `at` of a call."""

    of: _Open
    at: int
    tokens: list[int]


class Batches:
    def __init__(self) -> None:
        self._open: list[_Open] = []

    def add(self, call: Computation, inputs: Sequence[list[int]]) -> None:
        new = _Open(call, [None] * len(inputs))
        # A call's own texts in the order of their lengths, so that those alike come together.
        order = sorted(range(len(inputs)), key=lambda at: len(inputs[at]))
        new.waiting.extend(Text(new, at, inputs[at]) for at in order)
        self._open.append(new)
        self._end_if_over(new)

    def take(self) -> list[Text]:
        """The next batch; empty if nobody has any texts left."""
        for each in list(self._open):
            if each.call.meter.cancelled:
                self._end(each, Cancelled())
        batch: list[Text] = []
        for priority in sorted({each.call.priority for each in self._open}):
            self._fill(batch, [each for each in self._open if each.call.priority == priority])
        # Who gave texts to this batch stands behind the others in the next.
        gave = {text.of for text in batch}
        self._open.sort(key=lambda each: each in gave)
        return batch

    def _fill(self, batch: list[Text], alike: Sequence[_Open]) -> None:
        owners: dict[str, deque[_Open]] = {}
        for each in alike:
            owners.setdefault(each.call.owner, deque()).append(each)
        while owners:
            for owner, calls in list(owners.items()):
                if not calls or len(batch) == MAX_BATCH:
                    del owners[owner]
                elif calls[0].waiting and _fits(batch, calls[0].waiting[0]):
                    batch.append(calls[0].waiting.popleft())
                else:  # this call has no more, or none that is like the others
                    calls.popleft()

    def give(self, batch: Sequence[Text], vectors: Sequence[bytes]) -> None:
        for text, vector in zip(batch, vectors, strict=True):
            text.of.vectors[text.at] = vector
        for each in {text.of for text in batch}:
            self._end_if_over(each)

    def clear(self, error: Exception) -> None:
        for each in list(self._open):
            self._end(each, error)

    def _end_if_over(self, each: _Open) -> None:
        done = [vector for vector in each.vectors if vector is not None]
        if len(done) == len(each.vectors):
            each.call.embedded = Embedded(tuple(done))
            self._end(each, None)

    def _end(self, each: _Open, error: Exception | None) -> None:
        self._open.remove(each)
        each.call.end(error)


def _fits(batch: Sequence[Text], text: Text) -> bool:
    if not batch:
        return True
    lengths = [len(text.tokens), *(len(each.tokens) for each in batch)]
    longest = max(lengths)
    return longest * len(lengths) <= MAX_TOKENS and longest <= LIKE * max(8, min(lengths))
