"""`client.embeddings`: texts as vectors."""

import array
import base64
import sys
from collections.abc import Mapping
from typing import Any, Literal, Required, Unpack  # Any: an answer is JSON

from dormouse.answers import build
from dormouse.errors import UnexpectedAnswerError
from dormouse.resources.inference import InferenceOptions, inference_call
from dormouse.transport import Transport
from dormouse.types import CreateEmbeddingResponse


class EmbeddingOptions(InferenceOptions, total=False):
    input: Required[str | list[str]]
    dimensions: int | None
    encoding_format: Literal["float", "base64"] | None
    """How vectors travel. Not given: as base64, which is shorter, and you get numbers."""


class Embeddings:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, **options: Unpack[EmbeddingOptions]) -> CreateEmbeddingResponse:
        """One vector per text; close vectors mean texts close in meaning."""
        wanted = options.get("encoding_format")
        call = inference_call(
            "/v1/embeddings",
            {**options, "encoding_format": wanted or "base64"},
            needs=("model", "input"),
        )
        reply = self._transport.send(call)
        data = _with_numbers(reply.data) if wanted is None else reply.data
        return build(CreateEmbeddingResponse, data, headers=reply.headers)


def _with_numbers(answer: Any) -> Any:
    try:
        return answer | {"data": [_decoded(each) for each in answer["data"]]}
    except (KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswerError("embeddings in an unknown form") from error


def _decoded(item: Mapping[str, Any]) -> dict[str, Any]:
    vector = item["embedding"]
    if isinstance(vector, str):
        numbers = array.array("f", base64.b64decode(vector, validate=True))
        if sys.byteorder == "big":
            numbers.byteswap()
        vector = numbers.tolist()
    return {**item, "embedding": vector}
