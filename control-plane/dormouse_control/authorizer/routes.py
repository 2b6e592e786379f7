"""Which service and model a name leads to: the control plane's table, kept in memory."""

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dormouse_control.authorizer.principals import ControlPlaneDown
from dormouse_control.authorizer.refusals import Refusal
from dormouse_control.gateway.paths import INFERENCE

REFRESH_SECONDS = 2.0
"""It costs little: the table comes only if it is another."""

MISS_SECONDS = 1.0

_ENDPOINT = re.compile(INFERENCE)


@dataclass(frozen=True)
class Route:
    """`reserve` says for each endpoint what a call costs at most, in billionths: always, and more
    for each byte of its body. `gpu`: its predictors ask for one. `max_body` is in bytes.
    """

    service: str
    model: str
    endpoints: tuple[str, ...]
    reserve: Mapping[str, tuple[int, int]]
    gpu: bool = False
    max_body: int | None = None


class Source(Protocol):
    async def routes(self, known: str | None) -> tuple[str, dict[str, dict[str, Any]] | None]:
        """Its version, and the table if that is not `known`. Raises `ControlPlaneDown`."""
        ...


class Routes:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._routes: dict[str, Route] | None = None
        self._version: str | None = None
        self._asked_at = 0.0

    async def find(self, name: str) -> Route | None:
        """None if no model is called so. Raises `ControlPlaneDown` if the table was never read."""
        if self._routes is None:
            await self.refresh()
        assert self._routes is not None
        found = self._routes.get(name)
        if found is None and time.monotonic() - self._asked_at > MISS_SECONDS:
            # A model may have been added since; if nobody answers, the table that we have counts.
            with contextlib.suppress(ControlPlaneDown):
                await self.refresh()
            found = self._routes.get(name)
        return found

    async def refresh(self) -> None:
        self._asked_at = time.monotonic()
        self._version, found = await self._source.routes(self._version)
        if found is not None:
            self._routes = {name: read_route(each) for name, each in found.items()}


def endpoint_of(route: Route, name: str, path: str) -> str:
    """Which of the endpoints of the model `name` is asked. Raises `Refusal`."""
    matched = _ENDPOINT.fullmatch(path)
    endpoint = matched.group(1).replace("/", ".") if matched else path
    if endpoint not in route.endpoints:
        raise Refusal(
            400,
            "invalid_value",
            f"The model {name!r} does not answer here; it offers {', '.join(route.endpoints)}.",
            "model",
        )
    return endpoint


def read_route(found: Mapping[str, Any]) -> Route:
    """From the control plane's document."""
    return Route(
        service=found["service"],
        model=found["model"],
        endpoints=tuple(found["endpoints"]),
        reserve={name: (fixed, each) for name, (fixed, each) in found["reserve"].items()},
        gpu=found["gpu"],
        max_body=found["max_body"],
    )
