"""`client.chat.completions`: answers in a conversation."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Required, Unpack, overload  # Any: a message is JSON

from dormouse.answers import build
from dormouse.resources.inference import SamplingOptions, inference_call
from dormouse.streaming import Stream
from dormouse.transport import Transport
from dormouse.types import ChatCompletion, ChatCompletionChunk, ChatMessage


class ChatOptions(SamplingOptions, total=False):
    messages: Required[Iterable[Mapping[str, Any] | ChatMessage]]
    response_format: Mapping[str, Any] | None
    logprobs: bool | None
    top_logprobs: int | None
    tools: list[Mapping[str, Any]] | None
    tool_choice: str | Mapping[str, Any] | None
    max_completion_tokens: int | None


class Chat:
    def __init__(self, transport: Transport) -> None:
        self.completions = ChatCompletions(transport)


class ChatCompletions:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @overload
    def create(
        self, *, stream: Literal[False] | None = None, **options: Unpack[ChatOptions]
    ) -> ChatCompletion: ...

    @overload
    def create(
        self, *, stream: Literal[True], **options: Unpack[ChatOptions]
    ) -> Stream[ChatCompletionChunk]: ...

    def create(
        self, *, stream: bool | None = None, **options: Unpack[ChatOptions]
    ) -> ChatCompletion | Stream[ChatCompletionChunk]:
        """Answer a conversation; with `stream=True` token by token."""
        messages = options.get("messages")
        call = inference_call(
            "/v1/chat/completions",
            {**options, "messages": None if messages is None else list(messages)},
            needs=("model", "messages"),
            stream=bool(stream),
        )
        if stream:
            return Stream(
                self._transport.stream(call), lambda data: build(ChatCompletionChunk, data)
            )
        reply = self._transport.send(call)
        return build(ChatCompletion, reply.data, headers=reply.headers)
