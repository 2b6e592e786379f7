"""The GET paths of KServe's protocol: is the process alive, ready, and which models it has.

Probes are answered here, byte for byte as KServe answers them, because its application takes more
than a second to import and they come first. What is asked more rarely is passed on to it: in a
zygote it is there before the fork, else it is brought up when somebody asks.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any  # ASGI

import orjson

from dormouse_predictors.answers import Send
from dormouse_predictors.receiving import Receive

if TYPE_CHECKING:
    from dormouse_predictors.server import KServeApplication

Document = Mapping[str, str | bool]

_READY = re.compile(r"/v2/models/([^/]+)/ready")
_MODEL = re.compile(r"/v2/models/[^/]+")
_LIVE: Mapping[str, Document] = {"/": {"status": "alive"}, "/v2/health/live": {"live": True}}


def answers(path: str) -> bool:
    """Whether GET of the path is answered here; no token is needed for it."""
    return (
        path in _LIVE
        or path == "/v2/health/ready"
        or _MODEL.fullmatch(path) is not None
        or _READY.fullmatch(path) is not None
    )


class Health:
    """An ASGI application. `models` are the names of those offered, `has` says which of them can be
    called now, `load` brings up KServe's application. Event loop only.
    """

    def __init__(
        self,
        models: Collection[str],
        has: Callable[[str], bool],
        load: Callable[[], "KServeApplication"],
    ) -> None:
        self._models = models
        self._has = has
        self._load = load
        self._kserve: KServeApplication | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        found = self._found(scope["path"])
        if found is None:
            kserve = await self._kserve_application()
            kserve.serve(self._models, self._has)
            await kserve.app(scope, receive, send)
            return
        status, document = found
        body = orjson.dumps(document)
        headers = [
            (b"content-length", str(len(body)).encode()),
            (b"content-type", b"application/json"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _found(self, path: str) -> tuple[int, Document] | None:
        """Status and document; None for what KServe is asked for."""
        if path in _LIVE:
            return 200, _LIVE[path]
        if path == "/v2/health/ready":
            if any(map(self._has, self._models)):
                return 200, {"ready": True}
            return 503, {"error": "Server is not ready."}
        asked = _READY.fullmatch(path)
        return None if asked is None else self._model_ready(asked[1])

    def _model_ready(self, name: str) -> tuple[int, Document]:
        if name not in self._models:
            return 404, {"error": f"Model with name {name} does not exist."}
        if not self._has(name):
            return 503, {"error": f"Model with name {name} is not ready."}
        return 200, {"name": name, "ready": True}

    async def _kserve_application(self) -> "KServeApplication":
        async with self._loading:
            if self._kserve is None:
                self._kserve = await asyncio.to_thread(self._load)
        return self._kserve
