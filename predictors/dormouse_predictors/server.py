"""The one file that knows KServe: its protocol for our models.

KServe's application answers only what `health.py` passes on to it. Its own server, its OpenAI
classes (which need vLLM) and its command line are not used.
"""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any  # ASGI

_saved, sys.argv = sys.argv, sys.argv[:1]  # kserve parses the command line at import
# kserve imports pandas, and pandas pyarrow if it is there: its allocator would start a thread, and
# a zygote has none but its own. Nobody here needs it.
_arrow = sys.modules.setdefault("pyarrow", None)  # type: ignore[arg-type]
import kserve  # noqa: E402
import kserve.model_server as kserve_server  # noqa: E402
from kserve.protocol.dataplane import DataPlane  # noqa: E402
from kserve.protocol.model_repository_extension import ModelRepositoryExtension  # noqa: E402
from kserve.protocol.rest.server import RESTServer  # noqa: E402

sys.argv = _saved
if _arrow is None:
    del sys.modules["pyarrow"]

Ready = Callable[[], bool]


class ServedModel(kserve.Model):  # type: ignore[misc]
    """A model of ours as KServe sees it: it is ready when we say so."""

    def __init__(self, name: str, ready: Ready) -> None:
        self._ready = ready
        super().__init__(name)

    @property
    def ready(self) -> bool:
        return self._ready()

    @ready.setter
    def ready(self, _value: bool) -> None:
        """KServe's base class writes here; we do not take its word."""


class _Plane(DataPlane):  # type: ignore[misc]
    async def ready(self) -> bool:
        # KServe's own answer is always yes.
        models = self.model_registry.get_models().values()
        return any(model.ready for model in models)


class KServeApplication:
    """KServe's FastAPI application; there is one a process, so build this once, before forking."""

    def __init__(self) -> None:
        self._registry = kserve.ModelRepository()
        plane = _Plane(model_registry=self._registry)
        extension = ModelRepositoryExtension(model_registry=self._registry)
        server = RESTServer("kserve.model_server:app", plane, extension, http_port=0)
        server.create_application()
        self.app: Any = kserve_server.app

    def serve(self, models: Iterable[str], has: Callable[[str], bool]) -> None:
        """Those of these models that it does not know yet; `has` says which are ready."""
        known = self._registry.get_models()
        for name in models:
            if name not in known:
                self._registry.update(ServedModel(name, partial(has, name)))
