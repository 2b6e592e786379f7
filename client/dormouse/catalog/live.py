"""The catalogue of a folder, read again when its files change (MOD-03, MOD-07).

`look` is to be called from time to time, a second apart. Files that are still being copied, weights
among them, are left alone until two looks find them the same. A catalogue that is wrong is told of
once, and the one before it stays.
"""

import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from dormouse.catalog.reader import CatalogError, read_catalog, visible
from dormouse.catalog.schemas import Catalog

Signature = tuple[tuple[str, int, int], ...]


class LiveCatalog:
    """`current` is the last one that was right, `version` another for every other one. Raises
    `CatalogError` if there never was one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = self._signature()
        self._read: Signature | None = self._seen  # None: it could not be read, and may be soon
        self._unread = ""
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
        except OSError as error:  # removed while we read, or not ours to read
            self._read = None
            return self._not_read(f"{self._folder}: {error}")
        self._unread = ""
        changed = found != self.current
        if changed:
            # In this order: who reads both between takes an old table for old.
            self.current, self.version = found, uuid.uuid4().hex
        return changed

    def _not_read(self, reason: str) -> bool:
        if reason == self._unread:
            return False  # it has been told
        self._unread = reason
        raise CatalogError(reason)

    def _signature(self) -> Signature:
        return tuple(sorted(self._files()))

    def _files(self) -> Iterator[tuple[str, int, int]]:
        """Every file of a model, hidden ones too: they may become its weights."""
        for path in visible(self._folder, "*/service.yaml"):
            yield from _signed(path)
        for folder in {ini.parent: None for ini in visible(self._folder, "*/*/*.ini")}:
            for inside, _, names in os.walk(folder):
                for name in names:
                    yield from _signed(Path(inside, name))


def _signed(path: Path) -> Iterator[tuple[str, int, int]]:
    try:
        found = path.stat()
    except OSError:
        return
    if stat.S_ISREG(found.st_mode):
        yield str(path), found.st_mtime_ns, found.st_size
