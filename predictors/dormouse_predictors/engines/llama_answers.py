"""The answers to one call, token by token: a generator that says what the model is to read.

It is driven by `llama_slots`: whenever what it asked for was read, it goes on with the index of the
logits that follow, until the call has all its answers.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from dormouse_predictors.base import Computation, FinishReason, GenerateRequest, Piece, Prompt
from dormouse_predictors.engines.llama_model import LlamaModel
from dormouse_predictors.engines.llama_sampling import Sampler, logprob, seed_for
from dormouse_predictors.engines.text import TextStream


@dataclass(frozen=True)
class Read:
    """Let the call's sequence be these tokens and no others."""

    tokens: list[int]


Wish = Read | int
"""An int is one more token after those that were read."""

Steps = Generator[Wish, int, None]


def answers(
    model: LlamaModel, call: Computation, prompts: Sequence[tuple[Prompt, list[int]]]
) -> Steps:
    """All answers to all prompts of a call, one after the other. Counts on the call's meter."""
    request = call.request
    assert isinstance(request, GenerateRequest)
    for at, (prompt, tokens) in enumerate(prompts):
        call.meter.prompt_tokens += len(tokens)
        for answer in range(request.n):
            index = at * request.n + answer
            if request.echo:
                call.pieces.append(Piece(index, _echo(model, prompt)))
            yield from _one(model, call, request, tokens, index, answer)


def _one(
    model: LlamaModel,
    call: Computation,
    request: GenerateRequest,
    tokens: list[int],
    index: int,
    answer: int,
) -> Steps:
    sampling = request.sampling
    sampler = Sampler(model, sampling, seed=seed_for(sampling, answer), json=request.json_only)
    text = TextStream(request.stop)
    reason: FinishReason = "length"
    first = model.spaces_first and is_chat(request.prompts[0])
    budget = _budget(model, request, len(tokens))
    try:
        at = yield Read(tokens)
        for made in range(budget):
            token = sampler.next(at)
            if model.is_end(token):
                reason = "stop"
                break
            call.meter.completion_tokens += 1
            entry = None
            if request.logprobs is not None:
                entry = logprob(model, at, token, request.logprobs)
            out = text.push(model.piece(token, strip_space=first), entry)
            first = False
            if out.stopped:
                call.pieces.append(Piece(index, out.text, tuple(out.logprobs), "stop"))
                return
            if out.text or out.logprobs:
                call.pieces.append(Piece(index, out.text, tuple(out.logprobs)))
            if made + 1 < budget:
                at = yield token
    finally:
        sampler.close()
    rest = text.finish()
    reason = "stop" if rest.stopped else reason
    call.pieces.append(Piece(index, rest.text, tuple(rest.logprobs), reason))


def _budget(model: LlamaModel, request: GenerateRequest, used: int) -> int:
    room = model.context - used
    limit = request.default_tokens if request.max_tokens is None else request.max_tokens
    return room if limit is None else min(room, limit)


def is_chat(prompt: Prompt) -> bool:
    return not isinstance(prompt, str) and bool(prompt) and not isinstance(prompt[0], int)


def _echo(model: LlamaModel, prompt: Prompt) -> str:
    return (
        prompt
        if isinstance(prompt, str)
        else b"".join(_pieces(model, prompt)).decode("utf-8", "replace")
    )


def _pieces(model: LlamaModel, prompt: Prompt) -> Iterator[bytes]:
    return (model.piece(part) for part in prompt if isinstance(part, int))
