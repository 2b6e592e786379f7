"""What a predictor answers: its endpoints, and what it must know to take a call in."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any  # JSON

from dormouse.tokens import InternalClaims
from dormouse_predictors import receiving
from dormouse_predictors.arriving import Arriving
from dormouse_predictors.errors import CallError
from dormouse_predictors.receiving import Receive
from dormouse_predictors.requests.fields import ParsedCall, read_json

Parse = Callable[[Mapping[str, Any]], ParsedCall]

ENDPOINTS = {
    "/v1/chat/completions": "chat.completions",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}
_PARSERS = {"chat.completions": "chat", "completions": "completions", "embeddings": "embeddings"}


@cache
def parser(endpoint: str) -> Parse:
    """What reads the bodies of an endpoint's calls. Only services that have it import that: its
    types take long to make."""
    module = import_module(f"dormouse_predictors.requests.{_PARSERS[endpoint]}")
    found: Parse = module.parse
    return found


@dataclass(frozen=True)
class Surface:
    """What the application needs to know of the predictor around it; `offers` a model of a name."""

    service: str
    endpoints: frozenset[str]
    offers: Callable[[str], Awaitable[bool]]
    verify: Callable[[str], InternalClaims]
    timeout_seconds: float
    max_body: int = 32 * 1024 * 1024

    def endpoint(self, path: str) -> tuple[str, Parse]:
        """Raises `CallError` for one that is another service's."""
        endpoint = ENDPOINTS[path]
        if endpoint not in self.endpoints:
            text = f"The service {self.service} does not answer {path}."
            raise CallError(404, "not_found", text)
        return endpoint, parser(endpoint)

    async def body(
        self,
        claims: InternalClaims,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        arriving: Arriving,
    ) -> bytes:
        """As far as the caller may send. Raises `CallError`, `ClientGone`."""
        most = self.max_body if claims.max_body is None else min(self.max_body, claims.max_body)
        with arriving.body(claims.user) as body:
            return await receiving.body(headers, receive, most, body.grow)

    async def parsed(self, parse: Parse, raw: bytes, claims: InternalClaims) -> ParsedCall:
        """Raises `CallError`."""
        call = parse(read_json(raw))
        if call.model not in (claims.model, claims.alias):
            text = "The call was admitted for another model."
            raise CallError(400, "model_mismatch", text, param="model")
        if not await self.offers(claims.model):
            text = f"The model {claims.model} does not exist."
            raise CallError(404, "model_not_found", text, param="model")
        return call
