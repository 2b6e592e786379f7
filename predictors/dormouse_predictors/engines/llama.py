"""The llama engine: GGUF models by llama.cpp, token by token, on CPU or GPU."""

import os
from collections.abc import Iterator

from dormouse_predictors.base import (
    Choice,
    EmbedRequest,
    FinishReason,
    GenerateRequest,
    Generation,
    LoadableModel,
    Meter,
    Piece,
    Prompt,
    TokenLogprob,
)
from dormouse_predictors.engines.llama_model import LlamaModel, supports_gpu
from dormouse_predictors.engines.llama_prompt import ChatPrompt
from dormouse_predictors.engines.llama_sampling import Sampler, logprob, seed_for, writes_json
from dormouse_predictors.engines.text import TextStream
from dormouse_predictors.errors import invalid, too_long, unsupported


class LlamaEngine:
    """See `base.Engine`. Holds one model; `n_gpu_layers` other than the loaded one's reloads it."""

    def __init__(self) -> None:
        self._loaded: LoadableModel | None = None
        self._model: LlamaModel | None = None
        self._chat: ChatPrompt | None = None
        self._threads = 1
        self._gpu_layers = 0

    def load(self, model: LoadableModel, *, threads: int) -> None:
        self._threads = threads
        self._open(model, _gpu_layers(None))

    def unload(self) -> None:
        if self._model is not None:
            self._model.close()
        self._model = self._chat = self._loaded = None

    def run(self, request: GenerateRequest | EmbedRequest, meter: Meter) -> Generation:
        if isinstance(request, EmbedRequest):
            raise TypeError("the llama engine makes no embeddings")
        texts: dict[int, str] = {}
        entries: dict[int, list[TokenLogprob]] = {}
        ends: dict[int, FinishReason] = {}
        for piece in self.stream(request, meter):
            texts[piece.index] = texts.get(piece.index, "") + piece.text
            entries.setdefault(piece.index, []).extend(piece.logprobs)
            if piece.finish_reason:
                ends[piece.index] = piece.finish_reason
        return Generation(tuple(Choice(texts[i], tuple(entries[i]), ends[i]) for i in sorted(ends)))

    def stream(self, request: GenerateRequest, meter: Meter) -> Iterator[Piece]:
        model = self._placed(request, meter)
        prompts = [self._tokens(model, prompt, request) for prompt in request.prompts]
        if request.json_only and not writes_json(model):
            raise unsupported("response_format", "This model's vocabulary cannot write JSON.")
        unknown = [token for token in request.sampling.logit_bias if token >= model.vocab_size]
        if unknown:
            raise invalid("logit_bias", f"The model has no token {unknown[0]}.")
        model.set_threads(min(request.n_threads or self._threads, _most_threads(self._threads)))
        try:
            for at, (prompt, tokens) in enumerate(zip(request.prompts, prompts, strict=True)):
                yield from _answers(model, request, prompt, tokens, at * request.n, meter)
        finally:
            model.forget()

    def _placed(self, request: GenerateRequest, meter: Meter) -> LlamaModel:
        wanted = _gpu_layers(request.n_gpu_layers)
        if self._loaded is None or self._model is None:
            raise RuntimeError("no model is loaded")
        if wanted != self._gpu_layers:
            self._open(self._loaded, wanted)
        meter.gpu_layers = self._model.layers if self._gpu_layers < 0 else self._gpu_layers
        return self._model

    def _open(self, model: LoadableModel, gpu_layers: int) -> None:
        self.unload()
        opened = LlamaModel(
            model.path, context=model.spec.context, threads=self._threads, gpu_layers=gpu_layers
        )
        self._loaded, self._model, self._gpu_layers = model, opened, gpu_layers
        template = opened.chat_template()
        self._chat = ChatPrompt(template, opened) if template else None

    def _tokens(self, model: LlamaModel, prompt: Prompt, request: GenerateRequest) -> list[int]:
        param = "messages" if _is_chat(prompt) else "prompt"
        size = _bytes(prompt)
        if size > model.context * model.longest_piece():
            raise too_long(param, model.context, f"your {param} has {size} bytes, too many to fit")
        tokens = self._tokenized(model, prompt)
        asked = request.max_tokens
        if not tokens:
            raise invalid(param, f"{param}: this model needs at least one token to begin with.")
        if len(tokens) >= model.context or len(tokens) + (asked or 0) > model.context:
            wanted = f" and max_tokens asks for {asked}" if asked else ""
            raise too_long(param, model.context, f"your {param} has {len(tokens)} tokens{wanted}")
        return tokens

    def _tokenized(self, model: LlamaModel, prompt: Prompt) -> list[int]:
        begin = model.begin_token()
        if isinstance(prompt, str):
            # Who writes the whole prompt may write control tokens: there are no turns to protect.
            tokens = model.tokenize(prompt, special=True)
            return tokens if begin is None or tokens[:1] == [begin] else [begin, *tokens]
        messages = [part for part in prompt if not isinstance(part, int)]
        if messages:
            if self._chat is None:
                raise unsupported(
                    "messages", "This model has no chat template; use /v1/completions."
                )
            return self._chat.tokens(messages)
        ids = [part for part in prompt if isinstance(part, int)]
        if any(not 0 <= token < model.vocab_size for token in ids):
            raise invalid("prompt", f"prompt: tokens must be from 0 to {model.vocab_size - 1}.")
        return ids


def _answers(
    model: LlamaModel,
    request: GenerateRequest,
    prompt: Prompt,
    tokens: list[int],
    first: int,
    meter: Meter,
) -> Iterator[Piece]:
    model.forget()
    meter.prompt_tokens += len(tokens)
    model.read(tokens, cancelled=lambda: meter.cancelled)
    for answer in range(request.n):
        if answer:
            _rewind(model, tokens, meter)
        if request.echo:
            yield Piece(first + answer, _echo(model, prompt))
        yield from _one_answer(model, request, first + answer, answer, len(tokens), meter)


def _rewind(model: LlamaModel, tokens: list[int], meter: Meter) -> None:
    """Back to the end of the prompt, for another answer to it."""
    keep = len(tokens) - 1
    if not model.forget_after(keep):
        model.forget()
        keep = 0
    model.read(tokens[keep:], cancelled=lambda: meter.cancelled)


def _one_answer(
    model: LlamaModel, request: GenerateRequest, index: int, answer: int, used: int, meter: Meter
) -> Iterator[Piece]:
    room = model.context - used
    limit = request.default_tokens if request.max_tokens is None else request.max_tokens
    budget = room if limit is None else min(room, limit)
    text = TextStream(request.stop)
    sampler = Sampler(
        model, request.sampling, seed=seed_for(request.sampling, answer), json=request.json_only
    )
    reason: FinishReason = "length"
    first = model.spaces_first and _is_chat(request.prompts[0])
    try:
        for made in range(budget):
            meter.check()
            token = sampler.next()
            if model.is_end(token):
                reason = "stop"
                break
            meter.completion_tokens += 1
            entry = None
            if request.logprobs is not None:
                entry = logprob(model, token, request.logprobs)
            out = text.push(model.piece(token, strip_space=first), entry)
            first = False
            if out.stopped:
                yield Piece(index, out.text, tuple(out.logprobs), "stop")
                return
            if out.text or out.logprobs:
                yield Piece(index, out.text, tuple(out.logprobs))
            if made + 1 < budget:
                model.read_one(token)
    finally:
        sampler.close()
    rest = text.finish()
    yield Piece(index, rest.text, tuple(rest.logprobs), "stop" if rest.stopped else reason)


def _gpu_layers(asked: int | None) -> int:
    """Layers that really go to a GPU; -1 is all."""
    if not supports_gpu():
        return 0
    return -1 if asked is None else asked


def _is_chat(prompt: Prompt) -> bool:
    return not isinstance(prompt, str) and bool(prompt) and not isinstance(prompt[0], int)


def _bytes(prompt: Prompt) -> int:
    if isinstance(prompt, str):
        return len(prompt.encode())
    return sum(1 if isinstance(part, int) else len(part.content.encode()) for part in prompt)


def _echo(model: LlamaModel, prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return b"".join(model.piece(part) for part in prompt if isinstance(part, int)).decode(
        "utf-8", "replace"
    )


def _most_threads(given: int) -> int:
    """A caller may ask for as many as the machine has; more would only wait for each other."""
    return max(given, len(os.sched_getaffinity(0)))
