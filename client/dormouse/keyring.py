"""Public keys that may be replaced while we run: the JWKS file, read again when it changes.

To its users a ring is a plain mapping, as `tokens.decode` wants it; one that asks a URL instead of
a file can take its place.
"""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any  # a JWKS document is JSON

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dormouse.tokens import TokenError, read_jwks

LOOK_SECONDS = 1.0
"""How long a key that was taken out of the file may still be believed."""


class KeyRing(Mapping[str, Ed25519PublicKey]):
    """Key id -> public key of those whose id begins with `prefix`. Safe to use from many threads.

    A key id that nobody knows costs one `stat`: the file is read only if it is another one. A file
    that cannot be read leaves the keys that are known.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        self._path = path
        self._prefix = prefix
        self._keys: Mapping[str, Ed25519PublicKey] = {}
        self._document: Mapping[str, Any] = {"keys": []}
        self._seen: tuple[int, int, int] | None = None
        self._looked = self._failed = -LOOK_SECONDS

    def __getitem__(self, kid: str) -> Ed25519PublicKey:
        if kid not in self._keys or time.monotonic() - self._looked >= LOOK_SECONDS:
            self._look()
        return self._keys[kid]

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(self._keys)

    def __len__(self) -> int:
        self._look()
        return len(self._keys)

    def document(self) -> Mapping[str, Any]:
        """The whole JWKS document, whatever the prefix."""
        self._look()
        return self._document

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._failed < LOOK_SECONDS:
            return
        try:
            found = self._path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._read()
                self._seen = seen  # if it changed meanwhile, the next look sees another
        except (OSError, ValueError, KeyError, TypeError, AttributeError, TokenError):
            self._failed = now
        self._looked = now

    def _read(self) -> None:
        document = json.loads(self._path.read_text("utf-8"))
        keys = read_jwks(document)
        self._keys = {kid: key for kid, key in keys.items() if kid.startswith(self._prefix)}
        self._document = document
