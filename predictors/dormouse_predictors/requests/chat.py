"""POST /v1/chat/completions: conversations."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal  # JSON

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from dormouse_predictors.base import GenerateRequest, Message
from dormouse_predictors.errors import invalid, unsupported
from dormouse_predictors.requests.fields import (
    Generating,
    MaxTokens,
    Neutral,
    ParsedCall,
    Strict,
    check,
    drop_neutral,
)

MAX_MESSAGES = 10_000

UNSUPPORTED: Neutral = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "metadata": ({},),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "prompt_cache_key": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "reasoning_effort": ("none",),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": (),
    "web_search_options": (),
}
# What people send back when they append our own answer to the conversation.
_NEUTRAL_IN_MESSAGES: Neutral = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "refusal": (),
    "tool_calls": ([],),
}


def _joined(value: object) -> object:
    """A list of text parts as one text."""
    if not isinstance(value, list):
        return value
    texts = []
    for at, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or set(part) != {"type", "text"} or not isinstance(part["text"], str):
            raise PydanticCustomError(
                "unsupported_parameter" if isinstance(kind, str) and kind != "text" else "part",
                "part {at} must be of type 'text' and hold a text; this model reads text only",
                {"at": at},
            )
        texts.append(part["text"])
    return "\n".join(texts)


class ChatMessage(Strict):
    role: Annotated[Literal["system", "developer", "user", "assistant"], Field()]
    content: Annotated[str, BeforeValidator(_joined)]
    name: Annotated[str | None, Field(max_length=64)] = None

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        for name, neutral in _NEUTRAL_IN_MESSAGES.items():
            if name in value and not (value[name] is None or value[name] in neutral):
                raise PydanticCustomError(
                    "unsupported_parameter", "{name} is not supported by this model", {"name": name}
                )
        return {name: part for name, part in value.items() if name not in _NEUTRAL_IN_MESSAGES}

    def message(self) -> Message:
        role = "system" if self.role == "developer" else self.role
        return Message(role, self.content, self.name)


class ChatBody(Generating):
    messages: Annotated[
        list[ChatMessage],
        Field(
            min_length=1,
            max_length=MAX_MESSAGES,
            description=f"a list of 1 to {MAX_MESSAGES} messages",
        ),
    ]
    max_tokens: MaxTokens = None
    max_completion_tokens: MaxTokens = None
    logprobs: Annotated[bool | None, Field(description="true or false")] = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    response_format: Annotated[
        dict[str, Any] | None, Field(description='{"type": "text"} or {"type": "json_object"}')
    ] = None


def parse(document: Mapping[str, Any]) -> ParsedCall:
    """Raises `CallError`."""
    body = check(ChatBody, drop_neutral(document, UNSUPPORTED))
    request = GenerateRequest(
        prompts=(tuple(message.message() for message in body.messages),),
        n=body.n or 1,
        max_tokens=_max_tokens(body),
        stop=tuple(body.stop or ()),
        sampling=body.sampling(),
        logprobs=_logprobs(body),
        json_only=_json_only(body),
        n_threads=body.n_threads,
        n_gpu_layers=body.n_gpu_layers,
    )
    return body.parsed(request)


def _max_tokens(body: ChatBody) -> int | None:
    both = {body.max_tokens, body.max_completion_tokens} - {None}
    if len(both) == 2:
        raise invalid(
            "max_tokens", "Set max_completion_tokens or max_tokens, not both to different values."
        )
    return next(iter(both), None)


def _logprobs(body: ChatBody) -> int | None:
    if body.logprobs:
        return body.top_logprobs or 0
    if body.top_logprobs:
        raise invalid("top_logprobs", "top_logprobs is only allowed with logprobs: true.")
    return None


def _json_only(body: ChatBody) -> bool:
    if body.response_format is None:
        return False
    kind = body.response_format.get("type")
    if kind == "json_schema":
        raise unsupported(
            "response_format", "response_format json_schema is not supported; use json_object."
        )
    if kind not in ("text", "json_object") or len(body.response_format) != 1:
        raise invalid(
            "response_format",
            'response_format must be {"type": "text"} or {"type": "json_object"}.',
        )
    return bool(kind == "json_object")
