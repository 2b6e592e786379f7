"""Wire types of services and models."""

from typing import Literal

from dormouse_control.wire import Answer

Status = Literal["asleep", "waking", "awake"]


class ModelRead(Answer):
    """`offered`: this installation's profile comes up with it. `loaded`: in memory now."""

    id: str
    title: str
    description: str
    license: str
    context: int
    parameters: int
    offered: bool
    loaded: bool


class PricesRead(Answer):
    currency: str
    per_1000_prompt_tokens: float
    per_1000_completion_tokens: float
    per_audio_second: float
    per_image: float
    per_gpu_second: float
    per_load: float


class ServiceRead(Answer):
    """`stage` says how far a wake has come; `problem` why the last one failed, or what is amiss."""

    id: str
    title: str
    description: str
    category: str
    endpoints: list[str]
    access: Literal["open", "approval"]
    placement: Literal["serverless", "dedicated"]
    aliases: list[str]
    models: list[ModelRead]
    status: Status
    stage: str | None
    problem: str | None
    entitled: bool
    prices: PricesRead


class OpenAIModel(Answer):
    """OpenAI's shape, and whose it is here."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "dormouse"
    service: str
    entitled: bool


class OpenAIModels(Answer):
    object: Literal["list"] = "list"
    data: list[OpenAIModel]
