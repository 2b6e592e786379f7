"""Choosing the next token: llama.cpp's sampler chain from a request, and logprobs."""

import secrets
from typing import Any  # C pointers

import llama_cpp.llama_cpp as c
import numpy as np
from llama_cpp.llama_grammar import JSON_GBNF

from dormouse_predictors.base import Sampling, TokenLogprob
from dormouse_predictors.engines.llama_model import LlamaModel

REPEAT_WINDOW = 64  # tokens that repeat_penalty looks back, as in llama.cpp


class Sampler:
    """One chain for one answer. Penalties look at what was generated, not at the prompt."""

    def __init__(self, model: LlamaModel, sampling: Sampling, *, seed: int, json: bool) -> None:
        self._model = model
        self._chain: Any = c.llama_sampler_chain_init(c.llama_sampler_chain_default_params())
        for part in _parts(model, sampling, seed=seed, json=json):
            c.llama_sampler_chain_add(self._chain, part)

    def close(self) -> None:
        if self._chain:
            c.llama_sampler_free(self._chain)
            self._chain = None

    def next(self, index: int) -> int:
        """Chooses and remembers the token after the one at `index` of the batch."""
        return int(c.llama_sampler_sample(self._chain, self._model.state.pointer, index))


def _parts(model: LlamaModel, sampling: Sampling, *, seed: int, json: bool) -> list[Any]:
    parts: list[Any] = []
    size = model.vocab_size
    if sampling.logit_bias:
        biases = (c.llama_logit_bias * len(sampling.logit_bias))()
        for at, (token, bias) in enumerate(sampling.logit_bias.items()):
            biases[at].token, biases[at].bias = token, bias
        parts.append(c.llama_sampler_init_logit_bias(size, len(biases), biases))
    if sampling.presence_penalty or sampling.frequency_penalty:
        parts.append(
            c.llama_sampler_init_penalties(
                size, model.context, 1.0, sampling.frequency_penalty, sampling.presence_penalty
            )
        )
    if sampling.repeat_penalty != 1.0:
        parts.append(
            c.llama_sampler_init_penalties(size, REPEAT_WINDOW, sampling.repeat_penalty, 0.0, 0.0)
        )
    if json:
        parts.append(c.llama_sampler_init_grammar(model.vocab, JSON_GBNF.encode(), b"root"))
    if sampling.temperature == 0:
        return [*parts, c.llama_sampler_init_greedy()]
    return [
        *parts,
        c.llama_sampler_init_top_k(sampling.top_k),
        c.llama_sampler_init_top_p(sampling.top_p, 1),
        c.llama_sampler_init_min_p(sampling.min_p, 1),
        c.llama_sampler_init_temp(sampling.temperature),
        c.llama_sampler_init_dist(seed),
    ]


def seed_for(sampling: Sampling, answer: int) -> int:
    """Each of several answers gets its own; llama.cpp reads 2**32 - 1 as `random`."""
    base = secrets.randbits(31) if sampling.seed is None else sampling.seed
    return (base + answer) % (2**32 - 1)


def logprob(model: LlamaModel, index: int, token: int, alternatives: int) -> TokenLogprob:
    """Of `token` after the one at `index` of the batch, as the model saw it: before temperature,
    penalties and biases.
    """
    logits = model.state.logits(index, model.vocab_size).astype(np.float64)
    logits -= logits.max()
    logits -= np.log(np.exp(logits).sum())
    best: list[int] = []
    if alternatives:
        count = min(alternatives, len(logits))
        found = np.argpartition(-logits, count - 1)[:count]
        best = [int(at) for at in found[np.argsort(-logits[found], kind="stable")]]
    return TokenLogprob(
        shown(model, token),
        float(logits[token]),
        tuple((shown(model, at), float(logits[at])) for at in best),
    )


def shown(model: LlamaModel, token: int) -> bytes:
    """A token's bytes, or its name where it stands for none."""
    return model.piece(token) or model.token_text(token).encode()


def writes_json(model: LlamaModel) -> bool:
    """Whether the vocabulary has the characters that a grammar for JSON needs."""
    sample = '{"a": [-0.1e5, true, false, null]}\n'
    tokens = model.tokenize(sample, special=False)
    return b"".join(model.piece(token) for token in tokens).strip() == sample.strip().encode()
