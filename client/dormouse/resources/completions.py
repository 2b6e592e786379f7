"""`client.completions`: goes on where a text ends."""

from typing import Literal, Required, Unpack, overload

from dormouse.answers import build
from dormouse.resources.inference import SamplingOptions, inference_call
from dormouse.streaming import Stream
from dormouse.transport import Transport
from dormouse.types import Completion


class CompletionOptions(SamplingOptions, total=False):
    prompt: Required[str | list[str]]
    echo: bool | None
    suffix: str | None
    logprobs: int | None


class Completions:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @overload
    def create(
        self, *, stream: Literal[False] | None = None, **options: Unpack[CompletionOptions]
    ) -> Completion: ...

    @overload
    def create(
        self, *, stream: Literal[True], **options: Unpack[CompletionOptions]
    ) -> Stream[Completion]: ...

    def create(
        self, *, stream: bool | None = None, **options: Unpack[CompletionOptions]
    ) -> Completion | Stream[Completion]:
        """Continue a text; with `stream=True` token by token."""
        call = inference_call(
            "/v1/completions", options, needs=("model", "prompt"), stream=bool(stream)
        )
        if stream:
            return Stream(self._transport.stream(call), lambda data: build(Completion, data))
        reply = self._transport.send(call)
        return build(Completion, reply.data, headers=reply.headers)
