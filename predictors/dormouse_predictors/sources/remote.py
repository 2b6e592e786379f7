"""Weights that are elsewhere: on the hub, behind a URL, or where fsspec can read."""

from collections.abc import Mapping
from pathlib import Path

from dormouse_predictors.errors import WeightsError
from dormouse_predictors.sources import filesystems, hub, web
from dormouse_predictors.sources.store import Progress, RemoteFile, Store


def fetched(
    source: str,
    sha256: str | None,
    store: Store,
    environment: Mapping[str, str],
    progress: Progress,
) -> Path:
    """Raises `WeightsError` naming the source."""
    scheme, _, rest = source.partition(":")
    match scheme:
        case "hf" if hub.parse(rest)[2] is None:
            return store.snapshot(source, hub.listing(rest, sha256, environment), progress)
        case "hf":
            return store.file(source, hub.file(rest, sha256, environment), progress)
        case "http" | "https":
            return store.file(source, web.remote(source, sha256=sha256), progress)
        case _:
            return _elsewhere(source, sha256, store, progress)


def _elsewhere(source: str, sha256: str | None, store: Store, progress: Progress) -> Path:
    if filesystems.is_folder(source):

        def listing() -> list[RemoteFile]:
            found = filesystems.files(source, sha256, hub.WANTED)
            if not found:
                raise WeightsError(f"{source}: holds no weights")
            return found

        return store.snapshot(source, listing, progress)
    return store.file(source, filesystems.file(source, sha256), progress)
