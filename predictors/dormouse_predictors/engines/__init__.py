"""Engines by the name in a service.yaml. Imported only when wanted: each drags in its library."""

from importlib import import_module

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
