"""What a GGUF model has read: sequences of tokens in a context that grows as calls need more of it.

Every cell of a context is written when it is made, which takes longer than all else of a wake. So
its sequences begin with an eighth of their length (and that with an eighth, if it is long), and
get the whole when one of them needs more. What was read moves over by way of main memory.
"""

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any  # C pointers

import llama_cpp.llama_cpp as c
import numpy as np
import numpy.typing as npt

from dormouse.needs import GROWTH

BATCH = 512

_CELLS = 256
"""llama.cpp gives a sequence no fewer, and multiples of it."""


_States = Mapping[int, "ctypes.Array[ctypes.c_uint8]"]


class NoRoom(Exception):
    """There is no memory for a context of this size; the one that there was is as it was."""


@dataclass(frozen=True)
class Part:
    """Tokens of one sequence, from a position on."""

    sequence: int
    position: int
    tokens: Sequence[int]


def lengths(most: int) -> list[int]:
    """What a sequence of at most so many cells may have, ascending: each an eighth of the next."""
    found = [most]
    while (short := found[0] // GROWTH // _CELLS * _CELLS) > 0:
        found.insert(0, short)
    return found


class LlamaContext:
    """Of the model at this pointer. Raises `NoRoom` if there is none even for its beginning."""

    def __init__(
        self, model: Any, sequences: int, length: int, *, threads: int, on_gpu: bool
    ) -> None:
        self._model = model
        self._sequences = sequences
        self._threads = threads
        self._on_gpu = on_gpu
        self._length, *self._longer = lengths(length)
        self._pointer: Any = self._opened(self._length)
        self._batch = c.llama_batch_init(BATCH, 0, 1)
        for at in range(BATCH):
            self._batch.n_seq_id[at] = 1

    def close(self) -> None:
        c.llama_batch_free(self._batch)
        if self._pointer:
            c.llama_free(self._pointer)
            self._pointer = None

    @property
    def pointer(self) -> Any:
        """Another one after `grow`."""
        return self._pointer

    @property
    def is_open(self) -> bool:
        """False if growing failed so badly that nothing is left."""
        return bool(self._pointer)

    def holds(self, tokens: int) -> bool:
        """Whether a sequence of so many has room."""
        return tokens <= self._length

    def grow(self, tokens: int, keep: Iterable[int]) -> None:
        """Have room for sequences of so many; those to `keep` keep what was read of them.

        Not between `decode` and the use of its logits. Raises `NoRoom`; RuntimeError if what was
        read is lost.
        """
        length = next((each for each in self._longer if each >= tokens), None)
        if length is None:
            raise ValueError(f"a sequence of {tokens} tokens is longer than the context")
        states = {each: self._state(each) for each in keep}
        c.llama_free(self._pointer)
        self._pointer = None
        try:
            self._pointer = self._opened(length)
        except NoRoom:
            self._reopen(states)
            raise
        self._length = length
        self._restore(states)

    def set_threads(self, threads: int) -> None:
        if threads != self._threads:
            c.llama_set_n_threads(self._pointer, threads, threads)
            self._threads = threads

    def forget(self, sequence: int) -> None:
        """Drop all that was read of it."""
        c.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def forget_all(self) -> None:
        if self._pointer:
            c.llama_memory_clear(self._memory, False)

    def forget_after(self, sequence: int, position: int) -> bool:
        """Keep its first `position` tokens; False if this kind of model cannot go back."""
        if c.llama_memory_seq_pos_min(self._memory, sequence) > 0:
            return False  # sliding-window attention has dropped the beginning already
        return bool(c.llama_memory_seq_rm(self._memory, sequence, position, -1))

    def decode(self, parts: Sequence[Part]) -> None:
        """Read at most `BATCH` tokens. There are logits for what follows the last of each part."""
        batch, at = self._batch, 0
        for part in parts:
            for offset, token in enumerate(part.tokens):
                batch.token[at] = token
                batch.pos[at] = part.position + offset
                batch.seq_id[at][0] = part.sequence
                batch.logits[at] = 0
                at += 1
            batch.logits[at - 1] = 1
        batch.n_tokens = at
        code = c.llama_decode(self._pointer, batch)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")

    def logits(self, index: int, count: int) -> npt.NDArray[np.float32]:
        """All `count` of the token after the one at `index` of the last batch; valid until the
        next."""
        pointer = c.llama_get_logits_ith(self._pointer, index)
        return np.ctypeslib.as_array(pointer, shape=(count,))

    @property
    def _memory(self) -> Any:
        return c.llama_get_memory(self._pointer)

    def _opened(self, length: int) -> Any:
        params = c.llama_context_default_params()
        # Each sequence has cells of its own: none computes what others have read.
        params.n_ctx, params.n_seq_max = length * self._sequences, self._sequences
        params.kv_unified = False
        params.n_batch = params.n_ubatch = BATCH
        params.n_threads = params.n_threads_batch = self._threads
        params.no_perf = True
        if not self._on_gpu:
            # On a CPU it is no faster, and what it computes depends on how many tokens it is given.
            params.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_DISABLED
        found = c.llama_init_from_model(self._model, params)
        if not found:
            raise NoRoom(f"{self._sequences} times {length} tokens")
        return found

    def _state(self, sequence: int) -> "ctypes.Array[ctypes.c_uint8]":
        size = int(c.llama_state_seq_get_size(self._pointer, sequence))
        state = (ctypes.c_uint8 * size)()
        c.llama_state_seq_get_data(self._pointer, state, size, sequence)
        return state

    def _reopen(self, states: _States) -> None:
        try:
            self._pointer = self._opened(self._length)
        except NoRoom as error:
            raise RuntimeError("what was read is lost, and the context with it") from error
        self._restore(states)

    def _restore(self, states: _States) -> None:
        for sequence, state in states.items():
            if not c.llama_state_seq_set_data(self._pointer, state, len(state), sequence):
                raise RuntimeError("what was read is lost")
