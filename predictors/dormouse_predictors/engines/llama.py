"""The llama engine: GGUF models by llama.cpp, token by token, on CPU or GPU."""

import os
from contextlib import suppress
from functools import partial

from dormouse.machine import main_memory
from dormouse.needs import contexts_within
from dormouse_predictors.base import (
    Computation,
    EmbedRequest,
    GenerateRequest,
    LoadableModel,
    Meter,
    Prompt,
)
from dormouse_predictors.engines.llama_answers import answers, is_chat
from dormouse_predictors.engines.llama_model import LlamaModel, supports_gpu
from dormouse_predictors.engines.llama_prompt import ChatPrompt
from dormouse_predictors.engines.llama_sampling import writes_json
from dormouse_predictors.engines.llama_slots import Slots
from dormouse_predictors.errors import (
    CallError,
    Cancelled,
    WeightsError,
    invalid,
    too_long,
    unsupported,
)


class LlamaEngine:
    """See `base.Engine`. Holds one model. A call that wants fewer layers on the GPU than there is
    room for has it loaded anew with so many, once no other call runs (FLD-04)."""

    def __init__(self) -> None:
        self._loaded: LoadableModel | None = None
        self._model: LlamaModel | None = None
        self._slots: Slots | None = None
        self._chat: ChatPrompt | None = None
        self._threads = 1
        self._gpu_layers = 0

    @property
    def parallel(self) -> int:
        return len(self._slots) if self._slots is not None else 1

    def load(self, model: LoadableModel, *, threads: int) -> None:
        self._threads = threads
        self._open(model, _gpu_layers(model, None))

    def unload(self) -> None:
        if self._slots is not None:
            self._slots.clear(Cancelled())
        if self._model is not None:
            self._model.close()
        self._model = self._chat = self._loaded = self._slots = None

    def beside(self, request: GenerateRequest | EmbedRequest) -> bool:
        wanted = getattr(request, "n_gpu_layers", None)
        return self._loaded is None or _gpu_layers(self._loaded, wanted) == self._gpu_layers

    def begin(self, call: Computation) -> None:
        request = call.request
        if not isinstance(request, GenerateRequest):
            raise TypeError("the llama engine makes no embeddings")
        model, slots = self._placed(request, call.meter)
        prompts = [(each, self._tokens(model, each, request)) for each in request.prompts]
        if request.json_only and not writes_json(model):
            raise unsupported("response_format", "This model's vocabulary cannot write JSON.")
        unknown = [token for token in request.sampling.logit_bias if token >= model.vocab_size]
        if unknown:
            raise invalid("logit_bias", f"The model has no token {unknown[0]}.")
        slots.begin(call, prompts[0][1], answers(model, call, prompts))

    def step(self) -> None:
        if self._slots is None or self._model is None:
            raise RuntimeError("no model is loaded")
        wishes = [_threads(slot.call) for slot in self._slots.running() if slot.call is not None]
        most = _most_threads(self._threads)
        self._model.state.set_threads(
            min(most, max(wish or self._threads for wish in wishes or [None]))
        )
        try:
            self._slots.step()
        except Exception as error:
            self._slots.clear(error)
            raise

    def _placed(self, request: GenerateRequest, meter: Meter) -> tuple[LlamaModel, Slots]:
        """Loads it anew where its layers are not where they shall be, and if it was lost."""
        if self._loaded is None:
            raise RuntimeError("no model is loaded")
        wanted = _gpu_layers(self._loaded, request.n_gpu_layers)
        lost = self._model is None or not self._model.state.is_open
        if wanted != self._gpu_layers or lost:
            self._reopen(self._loaded, wanted)
        assert self._model is not None
        assert self._slots is not None
        meter.gpu_layers = self._model.layers if self._gpu_layers < 0 else self._gpu_layers
        return self._model, self._slots

    def _reopen(self, model: LoadableModel, gpu_layers: int) -> None:
        """Raises `CallError`, and is as before then, as far as that can still be opened."""
        before = self._gpu_layers
        _check_room(model, before, gpu_layers)
        try:
            self._open(model, gpu_layers)
        except WeightsError as error:
            text = f"The model {model.id} could not be loaded anew: {error}"
            with suppress(WeightsError):  # then the next call tries it again
                self._open(model, before)
            raise CallError(503, "waking_failed", text, retry_after=5) from error

    def _open(self, model: LoadableModel, gpu_layers: int) -> None:
        self.unload()
        self._loaded, self._gpu_layers = model, gpu_layers
        opened = LlamaModel(
            model.path,
            context=model.spec.context,
            threads=self._threads,
            gpu_layers=gpu_layers,
            gpu=model.gpu or 0,
            sequences=partial(_sequences, model),
        )
        self._model = opened
        self._slots = Slots(opened.state, opened.sequences)
        template = opened.chat_template()
        self._chat = ChatPrompt(template, opened) if template else None

    def _tokens(self, model: LlamaModel, prompt: Prompt, request: GenerateRequest) -> list[int]:
        param = "messages" if is_chat(prompt) else "prompt"
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


def _gpu_layers(model: LoadableModel, asked: int | None) -> int:
    """Layers that really go to a GPU; -1 is all. A caller may ask for fewer than have a place."""
    if not supports_gpu() or model.gpu is None:
        return 0
    if asked is None or asked < 0 or asked >= model.spec.layers:
        return model.gpu_layers
    return asked if model.gpu_layers < 0 else min(asked, model.gpu_layers)


def _check_room(model: LoadableModel, before: int, wanted: int) -> None:
    """Nobody has set main memory aside for layers that leave the GPU. Raises `CallError`."""
    layers = model.spec.layers
    moved = (layers if before < 0 else before) - (layers if wanted < 0 else wanted)
    needed, free = model.spec.size_mb * moved / layers, main_memory().free_mb
    if moved > 0 and needed > free:
        text = f"{moved} layers in main memory need {needed:.0f} MiB, and {free:.0f} are free."
        raise CallError(503, "insufficient_memory", text, retry_after=30, param="n_gpu_layers")


def _bytes(prompt: Prompt) -> int:
    if isinstance(prompt, str):
        return len(prompt.encode())
    return sum(1 if isinstance(part, int) else len(part.content.encode()) for part in prompt)


def _most_threads(given: int) -> int:
    """A caller may ask for as many as the machine has; more would only wait for each other."""
    return max(given, len(os.sched_getaffinity(0)))


def _threads(call: Computation) -> int | None:
    return call.request.n_threads if isinstance(call.request, GenerateRequest) else None


def _sequences(model: LoadableModel, context_bytes: int) -> int:
    """Calls at the same time: as many as have room for a whole context each."""
    room = contexts_within(model.memory_bytes, context_bytes, model.spec.parallel)
    return room if model.contexts is None else min(room, model.contexts)
