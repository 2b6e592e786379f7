"""From a model's `source` to a path: one file of `sources/` for each kind of place."""

import os
from collections.abc import Mapping
from pathlib import Path

from dormouse.catalog import Model
from dormouse_predictors.errors import WeightsError
from dormouse_predictors.sources import filesystems, hub, local, web
from dormouse_predictors.sources.store import Progress, RemoteFile, Store

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
            case "hf" if hub.parse(rest)[2] is None:
                listing = hub.listing(rest, sha256, self._environment)
                return self._store.snapshot(source, listing, progress)
            case "hf":
                remote = hub.file(rest, sha256, self._environment)
                return self._store.file(source, remote, progress)
            case "http" | "https":
                return self._store.file(source, web.remote(source, sha256=sha256), progress)
            case _:
                return self._elsewhere(source, sha256, progress)

    def _elsewhere(self, source: str, sha256: str | None, progress: Progress) -> Path:
        if filesystems.is_folder(source):

            def listing() -> list[RemoteFile]:
                found = filesystems.files(source, sha256, hub.WANTED)
                if not found:
                    raise WeightsError(f"{source}: holds no weights")
                return found

            return self._store.snapshot(source, listing, progress)
        return self._store.file(source, filesystems.file(source, sha256), progress)
