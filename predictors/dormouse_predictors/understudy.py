"""An engine that computes nothing, for rehearsals of those whose models have no miniature."""

import struct

from dormouse_predictors.base import (
    Computation,
    Embedded,
    EmbedRequest,
    GenerateRequest,
    LoadableModel,
    Piece,
)

_VECTOR = struct.pack("<2f", 1.0, 0.0)


class Understudy:
    """See `base.Engine`. Each answer is one short text, or the same vector."""

    parallel = 8

    def __init__(self) -> None:
        self._running: list[Computation] = []

    def load(self, model: LoadableModel, *, threads: int) -> None:
        pass

    def beside(self, request: GenerateRequest | EmbedRequest) -> bool:  # noqa: ARG002
        return True

    def begin(self, call: Computation) -> None:
        call.meter.prompt_tokens = 1
        self._running.append(call)

    def step(self) -> None:
        for call in self._running:
            if isinstance(call.request, EmbedRequest):
                call.embedded = Embedded((_VECTOR,) * len(call.request.inputs))
            else:
                call.meter.completion_tokens = 1
                call.pieces.append(Piece(0, "a", finish_reason="stop"))
            call.end()
        self._running.clear()

    def unload(self) -> None:
        self._running.clear()
