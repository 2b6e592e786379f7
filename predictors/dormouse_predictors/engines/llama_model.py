"""A GGUF model in memory: the one file that calls llama.cpp's C functions, apart from sampling."""

import ctypes
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any  # C pointers

import llama_cpp.llama_cpp as c
import numpy as np
import numpy.typing as npt

from dormouse_predictors.errors import Cancelled, WeightsError

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


class LlamaModel:
    """Weights (mapped from the file, so the page cache is the model cache) and one context."""

    def __init__(self, path: Path, *, context: int, threads: int, gpu_layers: int) -> None:
        start_backend()
        params = c.llama_model_default_params()
        params.n_gpu_layers = _ALL_LAYERS if gpu_layers < 0 else gpu_layers
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
        self._open_context(path, threads)
        self._control_tokens: list[str] | None = None
        self._longest_piece = 0
        self._abort = c.ggml_abort_callback(0)
        self._buffer = ctypes.create_string_buffer(256)
        self._one = (c.llama_token * 1)()

    def _open_context(self, path: Path, threads: int) -> None:
        params = c.llama_context_default_params()
        params.n_ctx = self.context
        params.n_batch = params.n_ubatch = min(BATCH, self.context)
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        self._ctx = c.llama_init_from_model(self._model, params)
        if not self._ctx:
            self.close()
            raise WeightsError(f"{path}: no memory for a context of {self.context} tokens")
        self._memory = c.llama_get_memory(self._ctx)

    def close(self) -> None:
        if self._ctx:
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
        size = len(self._buffer)
        count = c.llama_token_to_piece(
            self._vocab, token, self._buffer, size, int(strip_space), False
        )
        if count < 0:
            self._buffer = ctypes.create_string_buffer(-count)
            return self.piece(token, strip_space=strip_space)
        return self._buffer.raw[:count]

    def is_end(self, token: int) -> bool:
        return bool(c.llama_vocab_is_eog(self._vocab, token))

    # Running

    def set_threads(self, threads: int) -> None:
        c.llama_set_n_threads(self._ctx, threads, threads)

    def forget(self) -> None:
        """Drop everything that was read: the next call must not gain or lose time by the last."""
        c.llama_memory_clear(self._memory, False)

    def forget_after(self, position: int) -> bool:
        """Keep the first `position` tokens; False if this kind of model cannot go back."""
        if c.llama_memory_seq_pos_min(self._memory, 0) > 0:
            return False  # sliding-window attention has dropped the beginning already
        return bool(c.llama_memory_seq_rm(self._memory, 0, position, -1))

    def read(self, tokens: Sequence[int], *, cancelled: Callable[[], bool]) -> None:
        """Read a prompt; raises `Cancelled` as soon as `cancelled` says so, mid-batch included."""
        self._abort = c.ggml_abort_callback(lambda _: cancelled())
        c.llama_set_abort_callback(self._ctx, self._abort, None)
        try:
            for start in range(0, len(tokens), BATCH):
                part = tokens[start : start + BATCH]
                array = (c.llama_token * len(part))(*part)
                self._decode(array, len(part), cancelled)
        finally:
            c.llama_set_abort_callback(self._ctx, c.ggml_abort_callback(0), None)

    def read_one(self, token: int) -> None:
        self._one[0] = token
        self._decode(self._one, 1, lambda: False)

    def _decode(self, array: Any, count: int, cancelled: Callable[[], bool]) -> None:
        if cancelled():
            raise Cancelled
        code = c.llama_decode(self._ctx, c.llama_batch_get_one(array, count))
        if code == 2:
            raise Cancelled
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")

    def logits(self) -> npt.NDArray[np.float32]:
        """Of the token after the last one read; valid until the next read."""
        pointer = c.llama_get_logits_ith(self._ctx, -1)
        return np.ctypeslib.as_array(pointer, shape=(self.vocab_size,))
