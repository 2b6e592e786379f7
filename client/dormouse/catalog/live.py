"""The catalogue of a folder, read again when its files change (MOD-03, MOD-07).

`look` is to be called from time to time, a second apart. Files that are still being copied are left
alone until two looks find them the same. A catalogue that is wrong is told of once, and the one
before it stays.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

from dormouse.catalog.reader import CatalogError, read_catalog
from dormouse.catalog.schemas import Catalog

Signature = tuple[tuple[str, int, int], ...]


class LiveCatalog:
    """`current` is the last one that was right, `version` another for every other one. Raises
    `CatalogError` if there never was one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = self._seen = self._signature()
        self.version = uuid.uuid4().hex
        self.current: Catalog = read_catalog(folder)

    def look(self) -> bool:
        """Whether `current` is another one now. Raises `CatalogError` for one that is wrong, once
        for each wrong state of the files."""
        before, self._seen = self._seen, self._signature()
        if self._seen == self._read or self._seen != before:
            return False
        self._read = self._seen
        try:
            found = read_catalog(self._folder)
        except OSError as error:  # removed while we read
            raise CatalogError(f"{self._folder}: {error}") from error
        changed = found != self.current
        if changed:
            # In this order: who reads both between takes an old table for old.
            self.current, self.version = found, uuid.uuid4().hex
        return changed

    def _signature(self) -> Signature:
        return tuple(self._files())

    def _files(self) -> Iterator[tuple[str, int, int]]:
        for pattern in ("*/service.yaml", "*/*/*.ini"):
            for path in sorted(self._folder.glob(pattern)):
                try:
                    found = path.stat()
                except OSError:
                    continue
                yield str(path), found.st_mtime_ns, found.st_size
