"""A predictor whose engine answers at once.

python -m suite.noop ARGUMENTS OF dormouse_predictors
"""

import struct
import sys

from dormouse_predictors.__main__ import main
from dormouse_predictors.base import (
    Computation,
    Embedded,
    EmbedRequest,
    GenerateRequest,
    LoadableModel,
)
from dormouse_predictors.engines import ENGINES

_VECTOR = struct.pack("<4f", 0.1, 0.2, 0.3, 0.4)


class AtOnce:
    """Each text's vector is the same."""

    parallel = 64

    def __init__(self) -> None:
        self._running: list[Computation] = []

    def load(self, model: LoadableModel, *, threads: int) -> None:
        pass

    def beside(self, request: GenerateRequest | EmbedRequest) -> bool:  # noqa: ARG002
        return True

    def begin(self, call: Computation) -> None:
        assert isinstance(call.request, EmbedRequest)
        call.meter.prompt_tokens = len(call.request.inputs)
        self._running.append(call)

    def step(self) -> None:
        for call in self._running:
            assert isinstance(call.request, EmbedRequest)
            call.embedded = Embedded((_VECTOR,) * len(call.request.inputs))
            call.end()
        self._running.clear()

    def unload(self) -> None:
        self._running.clear()


if __name__ == "__main__":
    ENGINES["transformers-embeddings"] = "suite.noop:AtOnce"
    sys.exit(main(sys.argv[1:]))
