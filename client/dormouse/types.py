"""The objects that calls return. Fields are named as in the HTTP API, which describes them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any  # Any: parts of OpenAI's answers that we hand on unread

from dormouse.answers import Answer, Inference, Page


@dataclass(frozen=True, kw_only=True)
class CompletionUsage(Answer):
    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class ChatMessage(Answer):
    content: str | None = None
    role: str = "assistant"
    refusal: str | None = None
    tool_calls: Any = None


@dataclass(frozen=True, kw_only=True)
class Choice(Answer):
    message: ChatMessage
    index: int = 0
    finish_reason: str | None = None
    logprobs: Any = None


@dataclass(frozen=True, kw_only=True)
class ChatCompletion(Inference):
    id: str
    choices: list[Choice]
    model: str
    created: int = 0
    object: str = "chat.completion"
    usage: CompletionUsage | None = None


@dataclass(frozen=True, kw_only=True)
class ChoiceDelta(Answer):
    content: str | None = None
    role: str | None = None
    refusal: str | None = None
    tool_calls: Any = None


@dataclass(frozen=True, kw_only=True)
class ChunkChoice(Answer):
    delta: ChoiceDelta
    index: int = 0
    finish_reason: str | None = None
    logprobs: Any = None


@dataclass(frozen=True, kw_only=True)
class ChatCompletionChunk(Answer):
    id: str
    choices: list[ChunkChoice]
    model: str
    created: int = 0
    object: str = "chat.completion.chunk"
    usage: CompletionUsage | None = None


@dataclass(frozen=True, kw_only=True)
class CompletionChoice(Answer):
    text: str
    index: int = 0
    finish_reason: str | None = None
    logprobs: Any = None


@dataclass(frozen=True, kw_only=True)
class Completion(Inference):
    """Of `client.completions`; its chunks in a stream have the same form."""

    id: str
    choices: list[CompletionChoice]
    model: str
    created: int = 0
    object: str = "text_completion"
    usage: CompletionUsage | None = None


@dataclass(frozen=True, kw_only=True)
class Embedding(Answer):
    embedding: list[float]
    index: int = 0
    object: str = "embedding"


@dataclass(frozen=True, kw_only=True)
class CreateEmbeddingResponse(Inference):
    data: list[Embedding]
    model: str
    object: str = "list"
    usage: CompletionUsage | None = None


@dataclass(frozen=True, kw_only=True)
class Model(Answer):
    id: str
    created: int = 0
    object: str = "model"
    owned_by: str = ""
    service: str | None = None
    entitled: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelList(Answer):
    data: list[Model]
    object: str = "list"

    def __iter__(self) -> Iterator[Model]:
        return iter(self.data)


@dataclass(frozen=True, kw_only=True)
class ServiceModel(Answer):
    id: str
    title: str = ""
    description: str = ""
    license: str = ""
    context: int | None = None
    parameters: int | None = None
    offered: bool = False
    loaded: bool = False


@dataclass(frozen=True, kw_only=True)
class Prices(Answer):
    currency: str = ""
    per_1000_prompt_tokens: float = 0
    per_1000_completion_tokens: float = 0
    per_audio_second: float = 0
    per_image: float = 0
    per_gpu_second: float = 0
    per_load: float = 0


@dataclass(frozen=True, kw_only=True)
class Service(Answer):
    id: str
    title: str = ""
    description: str = ""
    category: str = ""
    endpoints: list[str] = field(default_factory=list)
    access: str = "open"
    placement: str = "serverless"
    models: list[ServiceModel] = field(default_factory=list)
    status: str = "asleep"
    stage: str | None = None
    problem: str | None = None
    entitled: bool = False
    prices: Prices | None = None
    aliases: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class UsedCall(Answer):
    """`idle_ms`: its share of the time that its predictor was there for nobody; None until known.

    `user` is there where everybody's calls are listed.
    """

    request_id: str
    time: str
    user: str | None = None
    service: str = ""
    model: str = ""
    endpoint: str = ""
    outcome: str = ""
    estimated: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    audio_ms: int = 0
    images: int = 0
    queue_ms: int | None = None
    cold_start_ms: int | None = None
    duration_ms: int | None = None
    load_ms: int = 0
    compute_ms: int = 0
    gpus: int = 0
    idle_ms: int | None = None
    cost: float = 0
    key_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class UsageTotals(Answer):
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0


@dataclass(frozen=True, kw_only=True)
class UsageGroup(UsageTotals):
    """`group` says of what these are the sums, in the order of `by`."""

    group: dict[str, str | None]
    audio_ms: int = 0
    images: int = 0
    compute_ms: int = 0
    gpu_ms: int = 0
    load_ms: int = 0
    idle_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class UsageGroups(Page[UsageGroup]):
    items: list[UsageGroup]
    currency: str = ""


@dataclass(frozen=True, kw_only=True)
class UsagePage(Page[UsedCall]):
    """Newest first. `totals` are of all the calls asked for, not of this page."""

    items: list[UsedCall]
    totals: UsageTotals
    currency: str = ""


@dataclass(frozen=True, kw_only=True)
class Predictor(Answer):
    """It works on `slots` calls at once; `waiting` of those `in_flight` wait for that."""

    pid: int | None = None
    model: str | None = None
    state: str = ""
    in_flight: int = 0
    memory_bytes: int | None = None
    idle_seconds: float | None = None
    port: int | None = None
    metrics_port: int | None = None
    slots: int = 1
    waiting: int = 0


@dataclass(frozen=True, kw_only=True)
class ServiceStatus(Answer):
    """`queue` calls wait for a predictor, the oldest for `oldest_wait_ms`, and may get one in
    `expected_wait_ms`; `eta_ms`: until it is awake. None: nobody knows. `quarantined` models are
    refused for a while, because loading them ended their processes.
    """

    id: str
    status: str = ""
    stage: str | None = None
    models_loaded: list[str] = field(default_factory=list)
    predictors: list[Predictor] = field(default_factory=list)
    queue: int = 0
    last_cold_start_ms: int | None = None
    eta_ms: int | None = None
    oldest_wait_ms: int | None = None
    expected_wait_ms: int | None = None
    quarantined: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Process(Answer):
    name: str
    pid: int | None = None
    state: str = ""
    uptime_seconds: float | None = None
    restarts: int = 0
    memory_bytes: int | None = None
    metrics_port: int | None = None


@dataclass(frozen=True, kw_only=True)
class Status(Answer):
    services: list[ServiceStatus] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
