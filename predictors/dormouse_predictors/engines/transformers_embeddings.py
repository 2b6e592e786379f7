"""The embeddings engine: sentence models by torch and transformers, from safetensors only.

Texts of all calls that run are computed together, in batches of like length (`embedding_batches`).
"""

import ctypes
import gc
import os
from collections.abc import Sequence
from typing import Any  # transformers is untyped

# One text at a time is not worth threads, and threads would not survive a fork.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers.models.bert.modeling_bert  # noqa: F401  here, so that a forked process need not
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from dormouse_predictors.base import (
    Computation,
    EmbedRequest,
    GenerateRequest,
    LoadableModel,
)
from dormouse_predictors.engines.embedding_batches import Batches
from dormouse_predictors.engines.sentence_models import (
    open_model,
    open_tokenizer,
    write_miniature,
)
from dormouse_predictors.errors import Cancelled, WeightsError, invalid, too_long

# Compiles a thousand patterns, which a forked process then need not.
get_checkpoint_conversion_mapping("bert")

__all__ = ["EmbeddingsEngine", "write_miniature"]

PARALLEL = 64
"""Calls at the same time: with more of them, batches would be no fuller."""

MAX_CHARACTERS_A_TOKEN = 100


class EmbeddingsEngine:
    """See `base.Engine`. Vectors are pooled as the model's .ini says and have length one."""

    def __init__(self) -> None:
        self._model: Any = None
        self._tokenizer: Any = None
        self._pooling = "mean"
        self._context = 0
        self._before: list[int] = []
        self._after: list[int] = []
        self._batches = Batches()

    @property
    def parallel(self) -> int:
        return PARALLEL

    def load(self, model: LoadableModel, *, threads: int) -> None:
        torch.set_num_threads(threads)
        if not any(model.path.glob("*.safetensors")):
            raise WeightsError(f"{model.path}: holds no *.safetensors, the only format we load")
        try:
            self._tokenizer = open_tokenizer(model.path)
            self._model = open_model(model.path)
        except Exception as error:  # libraries raise of every kind
            raise WeightsError(f"{model.path}: not a transformers model: {error}") from error
        self._pooling = model.spec.pooling or "mean"
        self._context = min(model.spec.context, self._model.config.max_position_embeddings)
        self._before, self._after = _frame(self._tokenizer)

    def beside(self, request: GenerateRequest | EmbedRequest) -> bool:  # noqa: ARG002
        return True

    def begin(self, call: Computation) -> None:
        request = call.request
        if not isinstance(request, EmbedRequest):
            raise TypeError("the embeddings engine generates no text")
        native = self._model.config.hidden_size
        if request.dimensions not in (None, native):
            raise invalid("dimensions", f"dimensions: this model's vectors have {native}, no other")
        inputs = [self._tokens(part, at) for at, part in enumerate(request.inputs)]
        call.meter.check()
        call.meter.prompt_tokens = sum(len(tokens) for tokens in inputs)
        self._batches.add(call, inputs)

    def step(self) -> None:
        batch = self._batches.take()
        if not batch:
            return
        try:
            vectors = self._embed([text.tokens for text in batch])
        except Exception as error:  # or they would be computed, and fail, for ever
            self._batches.clear(error)
            raise
        self._batches.give(batch, vectors)

    def unload(self) -> None:
        self._batches.clear(Cancelled())
        if self._model is not None:
            self._model = self._tokenizer = None
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)  # give the pages back, not only to the allocator

    def _tokens(self, part: str | tuple[int, ...], at: int) -> list[int]:
        if isinstance(part, str):
            self._refuse_endless(part, at)
            # The text of a special token is only text: nobody writes a [SEP] into a sentence.
            inner: Sequence[int] = self._tokenizer.encode(part, add_special_tokens=False).ids
        else:
            inner = part
            size = self._model.config.vocab_size
            if any(token >= size for token in part):
                raise invalid("input", f"input[{at}]: tokens must be from 0 to {size - 1}")
        tokens = [*self._before, *inner, *self._after]
        if len(tokens) > self._context:
            raise too_long("input", self._context, f"your input[{at}] has {len(tokens)} tokens")
        return tokens

    def _refuse_endless(self, text: str, at: int) -> None:
        """Without tokenizing: a word is a token at least, and no token has so many letters."""
        words = text.split()
        letters = sum(map(len, words))
        if len(words) > self._context or letters > self._context * MAX_CHARACTERS_A_TOKEN:
            raise too_long("input", self._context, f"your input[{at}] has {len(words)} words")

    def _embed(self, batch: list[list[int]]) -> list[bytes]:
        longest = max(len(tokens) for tokens in batch)
        pad = self._model.config.pad_token_id or 0
        ids = torch.tensor([tokens + [pad] * (longest - len(tokens)) for tokens in batch])
        mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in batch])
        with torch.inference_mode():
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            vectors = torch.nn.functional.normalize(self._pooled(hidden, mask), dim=1)
        return [row.tobytes() for row in vectors.to(torch.float32).numpy().astype("<f4")]

    def _pooled(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self._pooling == "cls":
            return hidden[:, 0]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that this tokenizer puts before and after every text."""
    inner = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a").ids
    start = next(at for at in range(len(whole)) if whole[at : at + len(inner)] == inner)
    return whole[:start], whole[start + len(inner) :]
