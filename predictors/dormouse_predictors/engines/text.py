"""Token bytes in, text out: whole characters only, and nothing of a stop string. Pure."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field

from dormouse_predictors.base import TokenLogprob


@dataclass
class Emitted:
    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    stopped: bool = False


class TextStream:
    """Turns the bytes of tokens into text for one answer.

    Bytes that do not yet make a character, and text that may become a stop string, are held back.
    A token's logprob comes out with the text that the token ends in; a token that lies wholly
    in a stop string does not come out.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = [text for text in stop if text]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._made = 0  # characters decoded so far
        self._sent = 0  # characters emitted so far
        self._entries: list[tuple[int, int, TokenLogprob]] = []  # first, last character; entry

    def push(self, piece: bytes, entry: TokenLogprob | None = None) -> Emitted:
        start = self._made
        self._append(self._decoder.decode(piece))
        if entry is not None:
            self._entries.append((start, self._made, entry))
        cut = self._stop_at()
        if cut is not None:
            return self._emit(cut, stopped=True)
        return self._emit(len(self._held) - self._maybe_stop())

    def finish(self) -> Emitted:
        """What is still held: the answer ended without a stop string."""
        self._append(self._decoder.decode(b"", final=True))
        cut = self._stop_at()
        if cut is not None:
            return self._emit(cut, stopped=True)
        out = self._emit(len(self._held))
        out.logprobs += [entry for _, _, entry in self._entries]
        self._entries.clear()
        return out

    def _append(self, text: str) -> None:
        self._held += text
        self._made += len(text)

    def _stop_at(self) -> int | None:
        found = [at for at in (self._held.find(stop) for stop in self._stop) if at >= 0]
        return min(found, default=None)

    def _maybe_stop(self) -> int:
        """How many characters at the end of what is held could begin a stop string."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stop):
                return length
        return 0

    def _emit(self, length: int, *, stopped: bool = False) -> Emitted:
        text, self._held = self._held[:length], self._held[length:]
        self._sent += length
        ready = [entry for entry in self._entries if self._is_out(entry, stopped=stopped)]
        self._entries = self._entries[len(ready) :]
        if stopped:
            self._held = ""
            self._entries.clear()
        return Emitted(text, [entry for _, _, entry in ready], stopped)

    def _is_out(self, entry: tuple[int, int, TokenLogprob], *, stopped: bool) -> bool:
        first, last, _ = entry
        return first < self._sent if stopped else last <= self._sent
