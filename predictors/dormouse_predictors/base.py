"""The seam between a predictor and its engines: the `Engine` protocol and what crosses it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from dormouse.catalog import ModelSpec
from dormouse_predictors.errors import Cancelled

MEMORY_BYTES = 1 << 30
"""What a service may take that says nothing."""

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class LoadableModel:
    """A model whose weights lie at `path` (a file or a folder, as the engine expects).

    `memory_bytes` may be taken for what calls need beside the weights, as contexts. `gpu_layers` go
    to `gpu`, -1 is all; without a GPU it is None and 0. There is room on the machine for so many
    `contexts`; None: nobody has looked.
    """

    id: str
    path: Path
    spec: ModelSpec
    memory_bytes: int = MEMORY_BYTES
    gpu: int | None = None
    gpu_layers: int = 0
    contexts: int | None = None


class Meter:
    """What one call used, counted where it is made, and whether anybody still waits for it.

    An engine raises the counters as it goes, so that they are right whenever a call ends. Written
    by the engine's thread, read by others; `cancel` is called by others. `counted` is called when a
    prompt's tokens have been counted, before they are read.
    """

    def __init__(self) -> None:
        self._prompt_tokens = 0
        self.counted: Callable[[], None] = lambda: None
        self.completion_tokens = 0
        self.gpu_layers: int | None = None
        self.cancelled = False

    @property
    def prompt_tokens(self) -> int:
        return self._prompt_tokens

    @prompt_tokens.setter
    def prompt_tokens(self, value: int) -> None:
        self._prompt_tokens = value
        self.counted()

    def cancel(self) -> None:
        self.cancelled = True

    def check(self) -> None:
        if self.cancelled:
            raise Cancelled


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str
    name: str | None = None


Prompt = tuple[Message, ...] | str | tuple[int, ...]
"""A conversation, a text to continue, or the tokens of one."""


@dataclass(frozen=True)
class Sampling:
    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class GenerateRequest:
    """`n` answers to each prompt. `logprobs`: None = not wanted, else how many alternatives.

    `max_tokens` is what the caller insists on (a prompt that leaves no room for it is refused);
    `default_tokens` limits an answer where the caller said nothing; None = until the context ends.
    """

    prompts: tuple[Prompt, ...]
    n: int = 1
    max_tokens: int | None = None
    default_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    logprobs: int | None = None
    json_only: bool = False
    echo: bool = False
    n_threads: int | None = None
    n_gpu_layers: int | None = None


@dataclass(frozen=True)
class TokenLogprob:
    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """The next part of answer `index`; the last one of an answer has a `finish_reason`."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None


@dataclass(frozen=True)
class Choice:
    text: str
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: FinishReason


@dataclass(frozen=True)
class Generation:
    choices: tuple[Choice, ...]

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> "Generation":
        """What pieces come to, of every answer that has its last one."""
        texts: dict[int, str] = {}
        entries: dict[int, list[TokenLogprob]] = {}
        ends: dict[int, FinishReason] = {}
        for piece in pieces:
            texts[piece.index] = texts.get(piece.index, "") + piece.text
            entries.setdefault(piece.index, []).extend(piece.logprobs)
            if piece.finish_reason:
                ends[piece.index] = piece.finish_reason
        return cls(tuple(Choice(texts[i], tuple(entries[i]), ends[i]) for i in sorted(ends)))


@dataclass(frozen=True)
class EmbedRequest:
    """Each input is a text or the tokens of one."""

    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None


@dataclass(frozen=True)
class Embedded:
    """Little-endian float32 vectors, one an input, each of length one."""

    vectors: tuple[bytes, ...]


@dataclass(eq=False)
class Computation:
    """One call inside an engine, and what has come of it so far.

    The engine appends to `pieces`, and whoever drives it takes them out. When the call has
    `ended`, there is an `error`, or all that was asked for. What the engine keeps of a call, as its
    prompt, serves calls of the same `owner` and nobody else. The lower `priority`, the sooner.
    """

    request: GenerateRequest | EmbedRequest
    meter: Meter
    owner: str = ""
    priority: int = 1
    pieces: list[Piece] = field(default_factory=list)
    embedded: Embedded | None = None
    error: Exception | None = None
    ended: bool = False

    def end(self, error: Exception | None = None) -> None:
        self.error, self.ended = error, True


class Engine(Protocol):
    """Loads and runs one kind of model, several calls at a time. What must hold:

    - used by one thread only, the one that called `load`; nothing is started at import or in
      `__init__`, so that a process that imported the engine can still be forked;
    - `meter.prompt_tokens` and `meter.completion_tokens` are exact whenever a call ends, however
      it ends, and stay 0 for a call that is refused; a prompt is counted before it is read;
    - `meter.cancelled` is looked at in every step, and ends the call with `Cancelled`; a step does
      not take much longer than a second;
    - a call that the model cannot take is refused by `begin`, and harms no other;
    - nothing of one owner's call can be seen by another's: what is kept of it, as its prompt, makes
      only the same owner's later calls faster;
    - the same request with the same seed, or with temperature 0, gives the same answer, but for
      rounding where it is computed together with others;
    - after `unload` the memory is free and `load` may be called again.
    """

    @property
    def parallel(self) -> int:
        """Calls that it works on at the same time, of the model that is loaded."""

    def load(self, model: LoadableModel, *, threads: int) -> None:
        """Raises `WeightsError` if the files are not a model of this kind."""

    def beside(self, request: GenerateRequest | EmbedRequest) -> bool:
        """Whether the call may begin while those run that do; else once they have ended."""

    def begin(self, call: Computation) -> None:
        """Take one more call in, if fewer than `parallel` run. Raises `CallError`."""

    def step(self) -> None:
        """Bring every call that runs a little further. If this raises, they are all lost."""

    def unload(self) -> None:
        """Free the model and forget all calls; does nothing if none is loaded."""
