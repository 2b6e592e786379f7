"""From a model's `source` to a path: one file of `sources/` for each kind of place."""

import os
from collections.abc import Mapping
from pathlib import Path

from dormouse.catalog import Model
from dormouse_predictors.sources import local
from dormouse_predictors.sources.store import Progress, Store

__all__ = ["Progress", "Weights"]


class Weights:
    """`folder` keeps what was downloaded, for every process of this machine."""

    def __init__(
        self, folder: Path, *, environment: Mapping[str, str] = os.environ, pause: float = 0.5
    ) -> None:
        self._store = Store(folder, pause=pause)
        self._environment = environment

    def resolve(self, model: Model, progress: Progress) -> Path:
        """Raises `WeightsError` naming the source."""
        source, sha256 = model.spec.source, model.spec.sha256
        scheme, _, rest = source.partition(":")
        match scheme:
            case "builtin":
                return local.builtin(model.folder, rest)
            case "package":
                return local.package(rest)
            case "file":
                return local.file(rest)
            case _:
                # Its HTTP clients take long to import, and most weights are here.
                from dormouse_predictors.sources import remote

                return remote.fetched(source, sha256, self._store, self._environment, progress)
