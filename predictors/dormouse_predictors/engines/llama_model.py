"""A GGUF model in memory: its weights, what its file says, its vocabulary."""

import ctypes
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any  # C pointers

import llama_cpp.llama_cpp as c

from dormouse_predictors.engines.llama_context import LlamaContext, NoRoom
from dormouse_predictors.errors import WeightsError

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


Sequences = Callable[[int], int]
"""How many there shall be, if the context of one takes so many bytes."""


class LlamaModel:
    """Weights (mapped from the file, so the page cache is the model cache), and in `state` what
    they have read."""

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
        self._model: Any = c.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise WeightsError(f"{path}: llama.cpp cannot load this file as a GGUF model")
        self._vocab: Any = c.llama_model_get_vocab(self._model)
        # SentencePiece writes a blank before the first word of a text; it is no part of an answer.
        self.spaces_first = c.llama_vocab_type(self._vocab) == c.LLAMA_VOCAB_TYPE_SPM
        self.vocab_size: int = c.llama_vocab_n_tokens(self._vocab)
        self.context = min(context, int(c.llama_model_n_ctx_train(self._model)))
        self.sequences = sequences(self.context * self._kv_bytes())
        size, on_gpu = (self.sequences, self.context), gpu_layers != 0
        try:
            self.state = LlamaContext(self._model, *size, threads=threads, on_gpu=on_gpu)
        except NoRoom as error:
            c.llama_model_free(self._model)
            raise WeightsError(f"{path}: no memory for a context: {error}") from error
        self._control_tokens: list[str] | None = None
        self._longest_piece = 0
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self._buffer = ctypes.create_string_buffer(256)

    def _kv_bytes(self) -> int:
        """Of a context for each of its tokens: keys and values in all layers, two bytes each."""
        heads = int(c.llama_model_n_head(self._model))
        width = int(c.llama_model_n_embd(self._model)) // max(1, heads)
        shared = int(c.llama_model_n_head_kv(self._model)) or heads
        return 2 * 2 * self.layers * shared * width

    def close(self) -> None:
        if self._model:
            self.state.close()
            c.llama_model_free(self._model)
            self._model = None

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
