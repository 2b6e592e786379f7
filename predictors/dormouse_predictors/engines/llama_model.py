"""A GGUF model in memory: the one file that calls llama.cpp's C functions, apart from sampling."""

import ctypes
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # C pointers

import llama_cpp.llama_cpp as c
import numpy as np
import numpy.typing as npt

from dormouse_predictors.errors import WeightsError

BATCH = 512
_CONTROL = c.LLAMA_TOKEN_ATTR_CONTROL | c.LLAMA_TOKEN_ATTR_UNKNOWN
_ALL_LAYERS = 0x7FFFFFFF

_log = logging.getLogger("llama.cpp")


@c.llama_log_callback  # type: ignore[untyped-decorator]
def _log_line(_level: int, text: bytes, _data: object) -> None:
    _log.debug(text.decode("utf-8", "replace").rstrip())


_backend_ready = False


def start_backend() -> None:
    """Once a process, after the fork: a build for GPUs starts its driver here."""
    global _backend_ready
    if not _backend_ready:
        c.llama_log_set(_log_line, ctypes.c_void_p(0))
        c.llama_backend_init()
        _backend_ready = True


def supports_gpu() -> bool:
    return bool(c.llama_supports_gpu_offload())


@dataclass(frozen=True)
class Part:
    """Tokens of one sequence, from a position on."""

    sequence: int
    position: int
    tokens: Sequence[int]


Sequences = Callable[[int], int]
"""How many there shall be, if the context of one takes so many bytes."""


class LlamaModel:
    """Weights (mapped from the file, so the page cache is the model cache) and one context."""

    def __init__(
        self,
        path: Path,
        *,
        context: int,
        threads: int,
        gpu_layers: int,
        gpu: int,
        sequences: Sequences,
    ) -> None:
        start_backend()
        params = c.llama_model_default_params()
        params.n_gpu_layers = _ALL_LAYERS if gpu_layers < 0 else gpu_layers
        # On one GPU, the one that has room for it.
        params.split_mode, params.main_gpu = c.LLAMA_SPLIT_MODE_NONE, gpu
        params.load_mode = c.LLAMA_LOAD_MODE_MMAP
        self._ctx: Any = None
        self._model: Any = c.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise WeightsError(f"{path}: llama.cpp cannot load this file as a GGUF model")
        self._vocab: Any = c.llama_model_get_vocab(self._model)
        # SentencePiece writes a blank before the first word of a text; it is no part of an answer.
        self.spaces_first = c.llama_vocab_type(self._vocab) == c.LLAMA_VOCAB_TYPE_SPM
        self.vocab_size: int = c.llama_vocab_n_tokens(self._vocab)
        self.context = min(context, int(c.llama_model_n_ctx_train(self._model)))
        self.sequences = sequences(self.context * self._kv_bytes())
        self._open_context(path, threads, on_gpu=gpu_layers != 0)
        self._control_tokens: list[str] | None = None
        self._longest_piece = 0
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self._threads = threads
        self._buffer = ctypes.create_string_buffer(256)

    def _kv_bytes(self) -> int:
        """Of a context for each of its tokens: keys and values in all layers, two bytes each."""
        heads = int(c.llama_model_n_head(self._model))
        width = int(c.llama_model_n_embd(self._model)) // max(1, heads)
        shared = int(c.llama_model_n_head_kv(self._model)) or heads
        return 2 * 2 * self.layers * shared * width

    def _open_context(self, path: Path, threads: int, *, on_gpu: bool) -> None:
        params = c.llama_context_default_params()
        # Each sequence has cells of its own: none computes what others have read.
        params.n_ctx, params.n_seq_max = self.context * self.sequences, self.sequences
        params.kv_unified = False
        params.n_batch = params.n_ubatch = BATCH
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        if not on_gpu:
            # On a CPU it is no faster, and what it computes depends on how many tokens it is given.
            params.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._ctx = c.llama_init_from_model(self._model, params)
        if not self._ctx:
            self.close()
            raise WeightsError(f"{path}: no memory for a context of {self.context} tokens")
        self._memory = c.llama_get_memory(self._ctx)
        self._batch = c.llama_batch_init(BATCH, 0, 1)
        for at in range(BATCH):
            self._batch.n_seq_id[at] = 1

    def close(self) -> None:
        if self._ctx:
            c.llama_batch_free(self._batch)
            c.llama_free(self._ctx)
            self._ctx = None
        if self._model:
            c.llama_model_free(self._model)
            self._model = None

    @property
    def ctx(self) -> Any:
        return self._ctx

    @property
    def vocab(self) -> Any:
        return self._vocab

    # What the file says about itself

    @property
    def layers(self) -> int:
        return int(c.llama_model_n_layer(self._model))

    def chat_template(self) -> str | None:
        found = c.llama_model_chat_template(self._model, None)
        return found.decode("utf-8", "replace") if found else None

    def begin_token(self) -> int | None:
        """The token that every prompt starts with, if this model wants one."""
        wanted = c.llama_vocab_get_add_bos(self._vocab)
        token = int(c.llama_vocab_bos(self._vocab))
        return token if wanted and token >= 0 else None

    def token_text(self, token: int) -> str:
        if not 0 <= token < self.vocab_size:
            return ""
        return str(c.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace"))

    def begin_text(self) -> str:
        return self.token_text(int(c.llama_vocab_bos(self._vocab)))

    def end_text(self) -> str:
        return self.token_text(int(c.llama_vocab_eos(self._vocab)))

    def control_texts(self) -> list[str]:
        """The texts that mean something to the model instead of being read, longest first."""
        if self._control_tokens is None:
            found = {
                self.token_text(token)
                for token in range(self.vocab_size)
                if c.llama_vocab_get_attr(self._vocab, token) & _CONTROL
            }
            self._control_tokens = sorted(found - {""}, key=len, reverse=True)
        return self._control_tokens

    def longest_piece(self) -> int:
        """Most bytes that one token stands for."""
        if not self._longest_piece:
            texts = (c.llama_vocab_get_text(self._vocab, i) for i in range(self.vocab_size))
            self._longest_piece = max((len(text) for text in texts), default=1) or 1
        return self._longest_piece

    # Text and tokens

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """`special`: the text of a control token becomes that token. Adds none of its own."""
        if not text:
            return []
        raw = text.encode("utf-8", "replace")
        size = len(raw) + 8
        tokens = (c.llama_token * size)()
        count = c.llama_tokenize(self._vocab, raw, len(raw), tokens, size, False, special)
        if count < 0:
            tokens = (c.llama_token * -count)()
            count = c.llama_tokenize(self._vocab, raw, len(raw), tokens, -count, False, special)
        return list(tokens[:count])

    def piece(self, token: int, *, strip_space: bool = False) -> bytes:
        """The bytes of a token; none for a control token."""
        if strip_space:
            return self._piece(token, strip_space=True)
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._piece(token, strip_space=False)
        return found

    def _piece(self, token: int, *, strip_space: bool) -> bytes:
        size = len(self._buffer)
        count = c.llama_token_to_piece(
            self._vocab, token, self._buffer, size, int(strip_space), False
        )
        if count < 0:
            self._buffer = ctypes.create_string_buffer(-count)
            return self._piece(token, strip_space=strip_space)
        return self._buffer.raw[:count]

    def is_end(self, token: int) -> bool:
        found = self._ends.get(token)
        if found is None:
            found = self._ends[token] = bool(c.llama_vocab_is_eog(self._vocab, token))
        return found

    # Running

    def set_threads(self, threads: int) -> None:
        if threads != self._threads:
            c.llama_set_n_threads(self._ctx, threads, threads)
            self._threads = threads

    def forget(self, sequence: int) -> None:
        """Drop all that was read of it."""
        c.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def forget_all(self) -> None:
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
        code = c.llama_decode(self._ctx, batch)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")

    def logits(self, index: int) -> npt.NDArray[np.float32]:
        """Of the token after the one at `index` of the last batch; valid until the next."""
        pointer = c.llama_get_logits_ith(self._ctx, index)
        return np.ctypeslib.as_array(pointer, shape=(self.vocab_size,))
