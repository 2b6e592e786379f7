"""POST /v1/completions: texts to continue."""

from collections.abc import Mapping
from typing import Annotated, Any  # JSON

from pydantic import Field

from dormouse.prices import MOST_COMPLETIONS
from dormouse_predictors.base import GenerateRequest
from dormouse_predictors.errors import invalid, unsupported
from dormouse_predictors.requests.fields import (
    Generating,
    Neutral,
    ParsedCall,
    check,
    drop_neutral,
)
from dormouse_predictors.requests.inputs import read_inputs

MAX_PROMPTS = MOST_COMPLETIONS
DEFAULT_MAX_TOKENS = 16  # OpenAI's

UNSUPPORTED: Neutral = {"best_of": (1,), "suffix": ("",)}


class CompletionBody(Generating):
    prompt: Any = None
    max_tokens: Annotated[int | None, Field(ge=0, le=2**31 - 1)] = None
    logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    echo: Annotated[bool | None, Field(description="true or false")] = None


def parse(document: Mapping[str, Any]) -> ParsedCall:
    """Raises `CallError`."""
    body = check(CompletionBody, drop_neutral(document, UNSUPPORTED))
    prompts = read_inputs(body.prompt, param="prompt", at_most=MAX_PROMPTS)
    if body.echo and body.logprobs is not None:
        raise unsupported("logprobs", "logprobs of an echoed prompt are not supported.")
    n = body.n or 1
    if len(prompts) * n > MOST_COMPLETIONS:
        # What a call may cost at most is set aside before it begins.
        raise invalid("n", f"n answers to each prompt must be at most {MOST_COMPLETIONS} together.")
    request = GenerateRequest(
        prompts=prompts,
        n=n,
        max_tokens=body.max_tokens,
        default_tokens=DEFAULT_MAX_TOKENS,
        stop=tuple(body.stop or ()),
        sampling=body.sampling(),
        logprobs=body.logprobs,
        echo=bool(body.echo),
        n_threads=body.n_threads,
        n_gpu_layers=body.n_gpu_layers,
    )
    return body.parsed(request)
