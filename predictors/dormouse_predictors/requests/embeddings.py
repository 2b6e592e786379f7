"""POST /v1/embeddings: texts to place in space."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal  # JSON

from pydantic import Field

from dormouse_predictors.base import EmbedRequest
from dormouse_predictors.requests.fields import Common, ParsedCall, check
from dormouse_predictors.requests.inputs import read_inputs

MAX_INPUTS = 2048


class EmbeddingsBody(Common):
    input: Any = None
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Field(description="float or base64")
    ] = None
    dimensions: Annotated[int | None, Field(ge=1, le=65_536)] = None


def parse(document: Mapping[str, Any]) -> ParsedCall:
    """Raises `CallError`."""
    body = check(EmbeddingsBody, document)
    inputs = read_inputs(body.input, param="input", at_most=MAX_INPUTS)
    return ParsedCall(
        body.model,
        EmbedRequest(inputs, body.dimensions),
        end_user=body.safety_identifier or body.user,
        base64=body.encoding_format == "base64",
        priority=body.priority,
    )
