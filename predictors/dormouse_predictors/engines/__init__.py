"""Engines by the name in a service.yaml. Imported only when wanted: each drags in its library."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from dormouse_predictors.base import Engine

ENGINES = {
    "llama": "dormouse_predictors.engines.llama:LlamaEngine",
    "transformers-embeddings": (
        "dormouse_predictors.engines.transformers_embeddings:EmbeddingsEngine"
    ),
}


def engine_class(name: str) -> type[Engine]:
    """Imports the engine's module. Raises KeyError for a name that is not in `ENGINES`."""
    module, _, attribute = ENGINES[name].partition(":")
    found: type[Engine] = getattr(import_module(module), attribute)
    return found


def miniature_of(name: str) -> Callable[[Path], None] | None:
    """What writes the smallest model of this engine's kind into a folder, for rehearsals; None if
    the engine has none. Raises KeyError as above."""
    module, _, _ = ENGINES[name].partition(":")
    return getattr(import_module(module), "write_miniature", None)
